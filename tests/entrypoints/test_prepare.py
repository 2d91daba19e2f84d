import json
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result
from mlflow.entities import Run

from entrypoints.prepare import prepare
from odml.records import open_dataset
from odml.tracking.names import mlflow_name
from tests.voc_files import AnnotatedFolder, voc_object

BAD = voc_object(box=(30, 1, 12, 10))
ADVICE = "correct them, let fix=clip or fix=drop mend them, or leave them out with on_error=skip"


@pytest.fixture
def folder(tracking_store: Path) -> AnnotatedFolder:
    folder = AnnotatedFolder(tracking_store)
    for number in range(4):
        folder.add(str(number), voc_object("cat"), voc_object("c# = é", box=(12, 3, 30, 20)))
    return folder


def run(folder: AnnotatedFolder, *options: str) -> Result:
    arguments = ["--images", str(folder.images), "--annotations", str(folder.annotations), *options]
    return CliRunner().invoke(prepare, arguments)


def latest_run() -> Run:
    (run,) = mlflow.search_runs(experiment_names=["tests"], output_format="list")
    return run


def artifacts() -> Path:
    return Path(latest_run().info.artifact_uri)


def test_a_data_set_is_kept_in_the_run(folder: AnnotatedFolder):
    result = run(folder, "--val-split", "25", "--seed", "3")
    assert result.exit_code == 0, result.output
    dataset = open_dataset(artifacts() / "dataset")
    assert (dataset.train_examples, dataset.val_examples) == (3, 1)
    assert sorted(path.name for path in artifacts().iterdir()) == [
        "class_counts.json",
        "dataset",
        "inspection",
        "samples.png",
    ]
    assert result.stdout == (
        f"3 training and 1 validation images with 2 classes: {artifacts()}/dataset (digest {dataset.digest})\n"
    )


def test_the_run_tells_what_is_in_the_data_set(folder: AnnotatedFolder):
    run(folder, "--val-split", "25", "--seed", "3")
    assert latest_run().data.metrics == {
        "data/train_images": 3,
        "data/val_images": 1,
        "data/background_images": 0,
        "data/objects/cat": 4,
        mlflow_name("data/objects/c# = é"): 4,
        "data/errors": 0,
        "data/warnings": 0,
        "data/notes": 0,
        "data/mended": 0,
        "data/annotated_images": 4,
        "data/annotated_objects": 8,
        "data/classes": 2,
        "data/seldom_classes": 2,
        "data/empty_images": 0,
        "data/duplicate_images": 0,
        "data/objects_per_image": 2,
        "data/small_share": 1,
        "data/medium_share": 0,
        "data/large_share": 0,
        "data/truncated_share": 0,
        "data/difficult_share": 0,
        "data/dropped_files": 0,
        "data/dropped_objects": 0,
    }
    split = {"cfg.val_split": "25.0", "cfg.test_split": "0.0", "cfg.group_by": ""}
    assert latest_run().data.params == {"cfg.seed": "3", **split}
    table = json.loads((artifacts() / "class_counts.json").read_text())
    assert table == {
        "columns": ["class", "train_images", "train_objects", "val_images", "val_objects"],
        "data": [["c# = é", 3, 3, 1, 1], ["cat", 3, 3, 1, 1]],
    }


def test_the_data_set_is_an_input_of_the_run_with_its_digest(folder: AnnotatedFolder):
    run(folder)
    (used,) = latest_run().inputs.dataset_inputs
    digest = open_dataset(artifacts() / "dataset").digest
    assert (used.dataset.name, used.dataset.digest) == (f"{folder.images.parent.name}/images", digest)
    assert latest_run().data.tags["odml.data.digest"] == digest


def test_a_seed_is_drawn_and_recorded(folder: AnnotatedFolder):
    run(folder)
    description = (artifacts() / "dataset" / "dataset.yml").read_text()
    assert f"seed: {latest_run().data.params['cfg.seed']}\n" in description


def test_bad_annotations_fail_with_all_of_them_and_nothing_is_written(folder: AnnotatedFolder):
    folder.add("bad", BAD, BAD)
    result = run(folder)
    assert result.exit_code == 1
    message = "annotations/bad.xml: object {}: xmax 12 is not greater than xmin 30; remove or fix the box"
    assert result.stderr.splitlines()[-3:] == [
        f"Error: {message.format(1)}",
        message.format(2),
        f"2 errors in 1 file; {ADVICE}",
    ]
    assert latest_run().info.status == "FAILED"
    assert sorted(path.name for path in artifacts().iterdir()) == ["inspection", "problems.txt"]
    assert "xmax 12 is not greater than xmin 30" in (artifacts() / "inspection" / "report.html").read_text()


def test_bad_annotations_are_skipped_counted_and_listed(folder: AnnotatedFolder):
    folder.add("bad", BAD, voc_object("cat"))
    result = run(folder, "--on-error", "skip")
    assert result.exit_code == 0, result.output
    assert (artifacts() / "problems.txt").read_text() == (
        "error: annotations/bad.xml: object 1: xmax 12 is not greater than xmin 30; remove or fix the box\n"
    )
    metrics = latest_run().data.metrics
    assert (metrics["data/errors"], metrics["data/dropped_objects"], metrics["data/objects/cat"]) == (1, 1, 5)


def test_records_go_to_a_folder_of_their_own_and_are_not_overwritten(folder: AnnotatedFolder, tmp_path: Path):
    assert run(folder, "--output-dir", "records", "--output-prefix", "p-").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "records").iterdir())
    assert names == [
        "dataset.yml",
        "images.sha256",
        "labels.pbtxt",
        "p-train-1-3.tfrecord",
        "p-val-1-1.tfrecord",
        "split.json",
    ]
    described = artifacts() / "dataset"
    assert sorted(path.name for path in described.iterdir()) == [
        "dataset.yml",
        "images.sha256",
        "labels.pbtxt",
        "split.json",
    ]
    assert open_dataset(described).train_records == (tmp_path / "records" / "p-train-1-3.tfrecord",)
    result = run(folder, "--output-dir", "records", "--output-prefix", "p-")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: records/dataset.yml: exists and is not overwritten; remove the old records or choose another folder\n",
    )


def test_a_share_above_100_percent_is_refused(folder: AnnotatedFolder):
    result = run(folder, "--val-split", "130")
    assert result.exit_code == 2
    assert "130" in result.stderr


def test_the_split_that_the_data_bring_is_followed_unless_it_is_refused(folder: AnnotatedFolder):
    main = folder.annotations / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for part, names in (("train", "0\n1"), ("val", "2"), ("test", "3")):
        (main / f"{part}.txt").write_text(names)
    result = run(folder, "--val-split", "50")
    assert result.stdout.startswith("2 training, 1 validation and 1 test images with 2 classes: ")
    assert latest_run().data.tags["odml.data.split"] == (
        "annotations/ImageSets/Main (train.txt for train, val.txt for val, test.txt for test)"
    )
    refused = run(folder, "--val-split", "50", "--ready-split", "false")
    assert refused.stdout.startswith("2 training and 2 validation images with 2 classes: ")


def test_lists_say_who_trains_and_who_validates(folder: AnnotatedFolder, tmp_path: Path):
    (tmp_path / "train.txt").write_text("0.png\n1.png\n")
    (tmp_path / "val.txt").write_text("3\n")
    result = run(folder, "--train-list", "train.txt", "--val-list", "val.txt", "--ready-split", "false")
    assert result.stdout.startswith("2 training and 1 validation images with 2 classes: ")


def test_a_bad_regular_expression_is_told_before_anything_is_read(folder: AnnotatedFolder):
    result = run(folder, "--val-split", "50", "--group-by", "(")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: group_by: '(' is no regular expression (")


def test_a_format_that_is_not_there_is_an_error_in_one_line(folder: AnnotatedFolder):
    result = run(folder, "--format", "coco")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        1,
        f"Error: {folder.annotations}: holds no JSON file; give a COCO file or the folder of some",
    )
