"""The same training in one process, on two replicas in one process, and by two workers."""

from __future__ import annotations

import numpy as np
import pytest

from tests import tiny
from tests.clusters import ending, start, tf_configs
from tests.replicas import OBJECTS

pytestmark = pytest.mark.slow

SPREAD = ["mirrored", "worker0", "worker1"]
WORKERS = ["worker0", "worker1"]
Found = dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Found:
    folder = tmp_path_factory.mktemp("replicas")
    examples = [tiny.serialize(objects, source_id=f"{number}.png") for number, objects in enumerate(OBJECTS)]
    tiny.write_dataset(folder / "dataset", train=examples)
    first, second = tf_configs(2)
    processes = {
        "single": start("tests.replicas", str(folder), "single"),
        "mirrored": start("tests.replicas", str(folder), "mirrored", "MIRRORED"),
        "worker0": start("tests.replicas", str(folder), "worker0", TF_CONFIG=first),
        "worker1": start("tests.replicas", str(folder), "worker1", TF_CONFIG=second),
    }
    with ending(list(processes.values())):
        for name, process in processes.items():
            _, errors = process.communicate(timeout=1200)
            assert process.returncode == 0, f"{name}: {errors}"
    return {name: dict(np.load(folder / f"{name}.npz")) for name in processes}


def states(values: dict[str, np.ndarray], training: str) -> dict[str, np.ndarray]:
    """Give the weights and the averages, [R, ...], that the R replicas of a process have at the end of a training."""
    parts = ("weights", "averages")
    chosen = {name: value for name, value in values.items() if name.split("/")[:2] in [[training, p] for p in parts]}
    assert chosen
    return {name.removeprefix(f"{training}/"): value for name, value in chosen.items()}


@pytest.mark.parametrize("name", SPREAD)
@pytest.mark.parametrize("training", ["ssd", "adam", "rmsprop", "scaled"])
def test_losses_gradients_and_weights_are_those_of_one_process_with_the_whole_batch(found, training, name):
    alone, spread = found["single"], found[name]
    for metric in ("train/loss/total", "train/gradient_norm", "eval/scores"):
        assert spread[f"{training}/{metric}"] == pytest.approx(alone[f"{training}/{metric}"], rel=1e-4), metric
    # Gradients are clipped to a norm of 1.
    assert max(alone["ssd/train/gradient_norm"]) > 1
    theirs = states(spread, training)
    for path, value in states(alone, training).items():
        assert theirs[path][0] == pytest.approx(value[0], rel=1e-4, abs=1e-5), path


@pytest.mark.parametrize("name", SPREAD)
def test_normalisation_by_the_statistics_of_a_part_of_the_batch_changes_the_losses(found, name):
    alone, spread = (found[each]["whole/train/loss/total"] for each in ("single", name))
    assert np.all(np.abs(spread / alone - 1) > 1e-3)


@pytest.mark.parametrize("training", ["whole", "halves", "ssd", "scaled"])
def test_all_replicas_and_workers_end_with_the_same_weights_and_moving_statistics(found, training):
    for path, (one, other) in states(found["mirrored"], training).items():
        assert np.array_equal(one, other), path
    others = states(found["worker1"], training)
    for path, value in states(found["worker0"], training).items():
        assert np.array_equal(value, others[path]), path


@pytest.mark.parametrize("name", SPREAD)
def test_variables_that_replicas_change_on_their_own_become_their_mean(found, name):
    # The first replica added 1 to them, the second 4.
    assert found[name]["mean"].tolist() == [[2.5, 12.5]] * len(found[name]["mean"])


@pytest.mark.parametrize("name", SPREAD)
def test_going_on_is_the_same_as_never_having_stopped(found, name):
    halves = states(found[name], "halves")
    for path, value in states(found[name], "whole").items():
        assert np.array_equal(value, halves[path]), path
    assert np.array_equal(found[name]["whole/train/loss/total"][3:], found[name]["halves/train/loss/total"])


def test_request_to_stop_one_worker_stops_all_with_the_same_step(found):
    assert [str(found[name]["stopped/outcome"]) for name in WORKERS] == ["another worker 3", "SIGTERM 3"]


def test_patience_of_the_chief_ends_all_workers(found):
    assert [str(found[name]["patient/outcome"]) for name in WORKERS] == ["patience 2", "patience 2"]


def test_losses_of_faster_rcnn_are_those_of_the_whole_batch(found):
    names = [name for name in found["single"] if name.startswith("faster_rcnn/")]
    assert len(names) == 4
    for name in names:
        assert found["mirrored"][name] == pytest.approx(found["single"][name], rel=1e-5), name
