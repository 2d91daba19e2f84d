"""train and evaluate on records that another program has written, and on damaged ones."""

from __future__ import annotations

from pathlib import Path

import keras
import mlflow
import pytest
from click.testing import CliRunner, Result

from entrypoints.evaluate import evaluate
from entrypoints.train import train
from odml import batches, checkpoints
from odml.records import open_dataset
from tests import tiny
from tests.foreign_files import LABEL_MAP, example, picture, sides, write

SEED = 5


@pytest.fixture
def folder(tracking_store: Path) -> Path:
    """Pictures with classes by text alone, four to train on and two to measure by."""
    (tracking_store / "tiny.yml").write_text(tiny.MODEL)
    folder = tracking_store / "pets"
    write(folder / "pets_train.record-00000-of-00001", *(of_a_pet(number) for number in range(4)))
    write(folder / "pets_val.record-00000-of-00001", *(of_a_pet(number) for number in (4, 5)))
    (folder / "pet_label_map.pbtxt").write_text(LABEL_MAP)
    return folder


def of_a_pet(number: int, *, encoded: bytes | None = None) -> bytes:
    return example(
        encoded=encoded or picture(width=64, height=48),
        height=48,
        width=64,
        source_id=f"{number}.jpg".encode(),
        **sides((0.25, 0.25, 0.75, 0.75)),
        object__class__text=[b"cat", b"Hound"][number % 2],
    )


def run(*options: str) -> Result:
    options = ("--model", "tiny.yml", "--dataset", "pets", "--batch-size", "1", "--seed", str(SEED), *options)
    return CliRunner().invoke(train, options)


def latest_run() -> mlflow.entities.Run:
    return mlflow.search_runs(experiment_names=["tests"], output_format="list")[0]


def test_folder_is_trained_on_and_evaluated(folder):
    result = run("--train-steps", "2")
    assert result.exit_code == 0, result.output
    trained = latest_run()
    assert trained.data.tags["odml.data.digest"] == open_dataset(folder).digest
    assert {"eval/coco/mAP", "train/loss/total"} <= set(trained.data.metrics)
    result = CliRunner().invoke(evaluate, [])
    assert result.exit_code == 0, result.output
    assert latest_run().data.tags["odml.input.dataset"] == str(folder)


def test_damaged_picture_ends_the_training_in_one_line_and_what_was_learned_is_kept(folder):
    keras.utils.set_random_seed(SEED + 1)
    (source,) = batches.batch_sources(open_dataset(folder), batch_size=1, seed=SEED, number=2)
    damaged = int(source.removesuffix(".jpg"))
    pets = [of_a_pet(number, encoded=picture()[:60] if number == damaged else None) for number in range(4)]
    path = write(folder / "pets_train.record-00000-of-00001", *pets)
    result = run("--train-steps", "8")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(
        f"Error: {path}: example {damaged + 1} ({damaged}.jpg) cannot be decoded ("
    )
    assert "Traceback" not in result.stderr
    assert checkpoints.list_steps(Path(latest_run().info.artifact_uri) / "train") == [2]


def test_damaged_file_ends_the_training_in_one_line(folder):
    (folder / "dataset.yml").write_text(
        "{digest: a, train_examples: 4, val_examples: 2, train_records: 'pets_train*', val_records: 'pets_val*'}"
    )
    path = folder / "pets_train.record-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-9])
    result = run("--train-steps", "2")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: {path}: example 4 cannot be read (truncated record at ")
