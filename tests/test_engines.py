from __future__ import annotations

import hashlib
import importlib.util
import multiprocessing
import operator
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from odml.batches import training_batches
from odml.config import Augmentation
from odml.engines import Engine, find_engine, work_locally
from odml.errors import AnnotationError, ConfigurationError, RecordError
from odml.inspection import inspect
from odml.inspection.page import write_page
from odml.inspection.statistics import summarize
from odml.preparation import by_source_id, split_sources, write_dataset
from odml.records import Dataset, open_dataset, read_annotations
from odml.structures import Annotation
from tests.clusters import ending, start
from tests.test_shards import noise
from tests.voc_files import AnnotatedFolder, voc_object, voc_xml
from tests.workers import die, give_much, modules_beside, wait_for

needs_spark = pytest.mark.skipif(
    not importlib.util.find_spec("pyspark") or not (shutil.which("java") or os.environ.get("JAVA_HOME")),
    reason="needs pyspark (the extra odml[spark]) and Java",
)
NOTHING = Augmentation(horizontal_flip=False, random_crop=False, random_color=False, mosaic=0.0)


def in_two_processes(function: Callable[..., Any], tasks: Iterable[Any], *, worth: int) -> Generator[Any]:
    """Work in two processes, however little there is to do."""
    return work_locally(function, tasks, worth=2, workers=2)


def spark(master: str) -> AbstractContextManager[Engine]:
    return find_engine("spark", workers=-1, spark_master=master)


def to_float(image: tf.Tensor) -> tf.Tensor:
    image = tf.cast(image, tf.float32)
    image.set_shape([320, 320, 3])
    return image


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Annotation]:
    """Fourteen pictures of 310 kB; the last two, for validation, are WebP and grow beyond a megabyte."""
    folder = tmp_path_factory.mktemp("pictures")
    sources = {f"{number}.png": noise(folder / f"{number}.png", side=320) for number in range(12)}
    return sources | {name: noise(folder / name, quality=60) for name in ("v1.webp", "v2.webp")}


def written(sources: dict[str, Annotation], folder: Path, engine: Engine, **options: str) -> Dataset:
    split = {source_id: "val" if source_id.startswith("v") else "train" for source_id in sources}
    return write_dataset(sources, split, folder, seed=1, max_file_size=1, engine=engine, **options)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def alone(sources: dict[str, Annotation], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process writes."""
    folder = tmp_path_factory.mktemp("alone") / "records"
    written(sources, folder, partial(work_locally, workers=1))
    assert len(list(folder.glob("train-*"))) == 4
    assert len(list(folder.glob("val-*"))) == 2
    return folder


@pytest.mark.slow
def test_two_processes_write_what_one_does(sources: dict[str, Annotation], alone: Path, tmp_path: Path):
    written(sources, tmp_path / "records", in_two_processes)
    assert contents(tmp_path / "records") == contents(alone)
    assert multiprocessing.active_children() == []


def ready(folder: AnnotatedFolder) -> AnnotatedFolder:
    """Two hundred pictures, so that there are several tasks, with problems of many kinds."""
    for number in range(200):
        folder.add(f"{number:03}", voc_object("cat"), voc_object("Cat " if number % 7 else "dog", box=(2, 2, 30, 20)))
    folder.add("bad", voc_object(box=(30, 1, 12, 10)), voc_object("dog", box=(1, 1, 60, 20)), voc_object())
    folder.add_xml("without.xml", voc_xml(voc_object()))
    folder.add_xml("again.xml", voc_xml(voc_object(), filename="007.png"))
    (folder.images / "broken.png").write_bytes(b"no picture")
    folder.add_xml("broken.xml", voc_xml(voc_object()))
    shutil.copy(folder.images / "003.png", folder.images / "150.png")
    return folder


def prepared(folder: AnnotatedFolder, target: Path, engine: Engine) -> tuple[Any, ...]:
    """Prepare, and give all that comes of it: the files' digests, the problems, the statistics, the page."""
    inspection = inspect(folder.images, folder.annotations, fix="clip", engine=engine)
    statistics = summarize(inspection.annotations, digests=inspection.digests)
    sources = by_source_id(inspection.annotations, folder.images)
    split = split_sources(sources, val_split=20, seed=1, looks=inspection.looks)
    write_dataset(sources, split, target, seed=1, engine=engine)
    told = [(str(each), each.severity, each.kind, each.line, each.image, each.box) for each in inspection.problems]
    page = write_page(inspection, statistics, {}, title="set")
    return contents(target), told, statistics.metrics(), statistics.class_table(), statistics.places.tolist(), page


@pytest.fixture(scope="module")
def prepared_alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[AnnotatedFolder, tuple[Any, ...]]:
    """An annotated set, and what comes of it in one thread of one process."""
    place = tmp_path_factory.mktemp("set")
    folder = ready(AnnotatedFolder(place))
    return folder, prepared(folder, place / "records", partial(work_locally, workers=1))


@pytest.mark.slow
def test_two_processes_prepare_what_one_does(prepared_alone: tuple[AnnotatedFolder, tuple[Any, ...]], tmp_path: Path):
    folder, expected = prepared_alone
    assert len({kind for _, _, kind, *_ in expected[1]}) == 7
    assert prepared(folder, tmp_path / "records", in_two_processes) == expected


@pytest.mark.parametrize("workers", [3, -1])
def test_threads_prepare_what_one_does(
    prepared_alone: tuple[AnnotatedFolder, tuple[Any, ...]], tmp_path: Path, workers: int
):
    folder, expected = prepared_alone
    assert prepared(folder, tmp_path / "records", partial(work_locally, workers=workers)) == expected


@needs_spark
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_spark_prepares_what_one_process_does(prepared_alone: tuple[AnnotatedFolder, tuple[Any, ...]], tmp_path: Path):
    folder, expected = prepared_alone
    with spark("local[2]") as engine:
        assert prepared(folder, tmp_path / "records", engine) == expected


@pytest.mark.slow
def test_what_fails_in_a_process_is_raised_here_and_nothing_is_left(sources: dict[str, Annotation], tmp_path: Path):
    changed = {name: noise(tmp_path / name, side=320) for name in ("a.png", "b.png", "c.png", "d.png")}
    noise(tmp_path / "c.png", side=10)
    with pytest.raises(AnnotationError) as error:
        written(changed, tmp_path / "records", in_two_processes)
    assert str(error.value) == f"{tmp_path}/c.png: has changed since it was inspected; prepare again"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(changed)
    assert multiprocessing.active_children() == []


@needs_spark
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_spark_writes_what_one_process_does(sources: dict[str, Annotation], alone: Path, tmp_path: Path):
    with spark("local[2]") as engine:
        written(sources, tmp_path / "records", engine)
    assert contents(tmp_path / "records") == contents(alone)


@needs_spark
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_fails_on_spark_is_raised_here_and_nothing_is_left(tmp_path: Path):
    changed = {"a.png": noise(tmp_path / "a.png", side=320)}
    noise(tmp_path / "a.png", side=10)
    with spark("local[1]") as engine, pytest.raises(AnnotationError) as error:
        written(changed, tmp_path / "records", engine)
    assert str(error.value) == f"{tmp_path}/a.png: has changed since it was inspected; prepare again"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@needs_spark
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_spark_job_whose_workers_cannot_work_is_an_error():
    with spark("local[1]") as engine, pytest.raises(RecordError) as error:
        next(engine(operator.neg, [1], worth=1))
    assert str(error.value) == (
        "engine: the Spark job failed (TypeError: _operator.neg() takes no keyword arguments); Spark's log tells more"
    )


@needs_spark
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_spark_master_that_cannot_be_had_is_an_error():
    with pytest.raises(ConfigurationError) as error, spark("nowhere"):
        pass
    assert str(error.value) == (
        "spark_master: no session with 'nowhere' (org.apache.spark.SparkException: Could not parse Master URL: "
        "'nowhere'); check the master, and that a Java which this pyspark supports is installed"
    )


@pytest.mark.parametrize("seconds", [[0.0, 0.0], [600.0, 0.0], [600.0, 0.3, 0.0, 0.0, 0.0, 0.0]])
def test_a_worker_that_dies_is_an_error(seconds: list[float]):
    with pytest.raises(ConfigurationError) as error:
        list(work_locally(die, seconds, worth=2, workers=2))
    assert str(error.value) == "workers: one of the processes died; give fewer if memory is short"
    assert multiprocessing.active_children() == []


def test_work_that_is_not_wanted_any_more_ends_at_once_also_while_it_sends():
    started = time.monotonic()
    for _ in range(5):
        results = work_locally(give_much, [0.0, 0.0, 0.0, 600.0], worth=2, workers=2)
        assert len(next(results)) == 2_000_000
        results.close()
        assert multiprocessing.active_children() == []
    assert time.monotonic() - started < 500


def test_results_come_in_the_order_of_the_tasks_and_few_are_taken_ahead():
    taken: list[int] = []

    def seconds() -> Iterator[float]:
        for number in range(9):
            taken.append(number)
            yield 0.5 if number == 0 else 0.0

    results = work_locally(wait_for, seconds(), worth=2, workers=2)
    assert next(results) == 0.5
    assert len(taken) <= 5
    assert list(results) == [0.0] * 8
    assert len(taken) == 9


def test_workers_end_when_the_process_that_they_work_for_is_killed():
    process = start("tests.workers")
    assert process.stdout
    with ending([process]):
        assert process.stdout.readline() == "they work\n"
        process.kill()
        assert process.stdout.read() == ""  # which they have too, so that this waits for their end


def test_processes_that_inspect_do_without_tensorflow():
    assert list(work_locally(modules_beside, ["odml.inspection"], worth=2, workers=2)) == [[]]


def test_spark_without_pyspark_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as error:
        find_engine("spark", workers=-1, spark_master="local[2]")
    assert str(error.value) == ("engine: spark needs pyspark, which is not installed; pip install 'odml[spark]'")


def test_no_workers_are_refused():
    with pytest.raises(ConfigurationError) as error:
        find_engine("local", workers=0, spark_master="local[2]")
    assert str(error.value) == "workers: 0 can do nothing; give a number of processes, or -1 for one a core"


@pytest.mark.parametrize("scheme", ["ram", "file"])
def test_records_can_lie_wherever_tensorflow_reads(
    sources: dict[str, Annotation], alone: Path, tmp_path: Path, scheme: str
):
    place = f"{scheme}://{tmp_path}/far/records"
    # What lies in memory is there for this process alone.
    engine = partial(work_locally, workers=1) if scheme == "ram" else in_two_processes
    dataset = written(sources, tmp_path / "described", engine, records_folder=place)
    assert sorted(path.name for path in dataset.folder.iterdir()) == [
        "dataset.yml",
        "images.sha256",
        "labels.pbtxt",
        "split.json",
    ]
    assert open_dataset(dataset.folder) == dataset
    assert dataset.train_records[0] == f"{place}/train-01-03.tfrecord"
    assert dataset.digest == open_dataset(alone).digest
    assert sorted(tf.io.gfile.listdir(place)) == sorted(contents(alone))
    val = [str(each.image) for each in read_annotations(dataset.val_records, dataset.label_map)]
    assert val == ["v1.webp", "v2.webp"]
    near, far = (
        next(iter(training_batches(each, batch_size=3, resize=to_float, augment=NOTHING, seed=1)))
        for each in (open_dataset(alone), dataset)
    )
    assert near["images"].shape == (3, 320, 320, 3)
    assert bool(tf.reduce_all(near["images"] == far["images"]))


def test_a_local_folder_can_have_the_records_too(sources: dict[str, Annotation], alone: Path, tmp_path: Path):
    dataset = written(
        sources, tmp_path / "described", partial(work_locally, workers=1), records_folder=str(tmp_path / "records")
    )
    assert contents(tmp_path / "records") == contents(alone)
    assert dataset.train_records == tuple(sorted((tmp_path / "records").glob("train-*")))


def test_nothing_is_left_at_a_uri_when_a_picture_fails(tmp_path: Path):
    changed = {name: noise(tmp_path / name, side=320) for name in ("a.png", "b.png", "c.png", "d.png", "e.png")}
    noise(tmp_path / "b.png", side=10)
    place = f"ram://{tmp_path}/far"
    tf.io.gfile.makedirs(place)
    with tf.io.gfile.GFile(f"{place}/notes.txt", "w") as file:
        file.write("mine")
    with pytest.raises(AnnotationError):
        written(changed, tmp_path / "described", partial(work_locally, workers=1), records_folder=place)
    assert tf.io.gfile.listdir(place) == ["notes.txt"]
    assert not (tmp_path / "described").exists()


def test_records_at_a_uri_are_not_overwritten(sources: dict[str, Annotation], tmp_path: Path):
    place = f"ram://{tmp_path}/far"
    engine = partial(work_locally, workers=1)
    written(sources, tmp_path / "first", engine, records_folder=place)
    with pytest.raises(RecordError) as error:
        written(sources, tmp_path / "second", engine, records_folder=place)
    assert str(error.value) == (
        f"{place}/dataset.yml: exists and is not overwritten; remove the old records or choose another folder"
    )


def test_records_that_others_have_replaced_are_not_read(sources: dict[str, Annotation], tmp_path: Path):
    place = f"ram://{tmp_path}/far"
    dataset = written(sources, tmp_path / "described", partial(work_locally, workers=1), records_folder=place)
    with tf.io.gfile.GFile(f"{place}/dataset.yml", "w") as file:
        file.write("digest: other\n")
    with pytest.raises(RecordError) as error:
        open_dataset(tmp_path / "described")
    assert str(error.value) == (
        f"{tmp_path}/described/dataset.yml: its records in {place} have been replaced by others (digest other instead "
        f"of {dataset.digest}); use the run that has prepared those"
    )


def test_a_uri_that_tensorflow_does_not_know_is_an_error(sources: dict[str, Annotation], tmp_path: Path):
    with pytest.raises(RecordError, match=r"^odd://bucket: cannot be read or written \(File system scheme 'odd' not"):
        written(sources, tmp_path / "described", work_locally, records_folder="odd://bucket")
