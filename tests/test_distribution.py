from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import tensorflow as tf

from odml import distribution
from odml.distribution import has_several_workers, is_chief, make_strategy, require_even_shares
from odml.errors import ConfigurationError, TrainingError

TWO = ["a:2222", "b:2222"]


def cluster(jobs: dict, kind: str = "worker", index: int = 0, **others) -> str:
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}, **others})


@pytest.mark.parametrize(
    "text",
    [None, "", "{}", cluster({"worker": ["a:2222"]}, environment="cloud"), cluster({"chief": ["a:2222"]}, "chief")],
    ids=["unset", "empty", "no cluster", "one worker", "one chief"],
)
def test_one_worker_without_several_gpus_has_the_default_strategy(monkeypatch, text):
    if text is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", text)
    strategy = make_strategy()
    assert strategy is tf.distribute.get_strategy()
    assert is_chief(strategy)
    assert not has_several_workers(strategy)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[1]", "Input should be a valid dictionary or instance of _Cluster"),
        (json.dumps({"cluster": {"worker": TWO}}), "task: Field required"),
        (cluster({"worker": TWO}, index=2), "cluster has no worker 2"),
        (cluster({"worker": TWO}, "chief"), "cluster has no chief 0"),
        (cluster({"worker": TWO}, index=-1), "task.index: Input should be greater than or equal to 0"),
        (cluster({"worker": TWO}, "evaluator"), "task.type: Input should be 'chief' or 'worker'"),
        (cluster({"worker": TWO, "ps": ["c:2222"]}), "cluster.ps: Extra inputs are not permitted"),
        (cluster({"worker": ["a"]}), r"cluster.worker.0: String should match pattern '^\S+:\d+$'"),
        (cluster({"chief": TWO}, "chief"), "cluster.chief: List should have at most 1 item after validation, not 2"),
    ],
    ids=lambda value: value if "cluster" not in value else "",
)
def test_tf_config_that_is_damaged(monkeypatch, text, reason):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigurationError) as raised:
        make_strategy()
    assert str(raised.value) == (
        f'TF_CONFIG: {reason}; write {{"cluster": {{"worker": ["host1:2222", "host2:2222"]}}, "task": '
        '{"type": "worker", "index": 0}}, or unset it to train on this host alone'
    )


def worker(kind: str, index: int, *jobs: str) -> SimpleNamespace:
    """Stand in for the strategy of a worker among those of the jobs."""
    spec = SimpleNamespace(jobs=list(jobs))
    return SimpleNamespace(cluster_resolver=SimpleNamespace(task_type=kind, task_id=index, cluster_spec=lambda: spec))


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (worker("worker", 0, "worker"), True),
        (worker("worker", 1, "worker"), False),
        (worker("chief", 0, "chief", "worker"), True),
        (worker("worker", 0, "chief", "worker"), False),
    ],
    ids=["first worker", "second worker", "chief", "first worker beside a chief"],
)
def test_chief_is_the_one_that_is_called_so_or_else_the_first_worker(strategy, expected):
    assert is_chief(strategy) == expected


def test_batch_that_cannot_be_shared_evenly():
    require_even_shares(SimpleNamespace(num_replicas_in_sync=4), 24)
    with pytest.raises(ConfigurationError) as raised:
        require_even_shares(SimpleNamespace(num_replicas_in_sync=4), 6)
    assert str(raised.value) == ("batch_size: 6 images cannot be shared evenly among 4 devices; give a multiple of 4")


def test_error_of_a_lost_worker_is_one_line():
    with pytest.raises(TrainingError) as raised, distribution.lost_workers(worker("worker", 0, "worker")):
        raise tf.errors.UnavailableError(None, None, "Graph execution error:\n\nand so on")
    assert str(raised.value) == (
        "another worker is gone; see why in its output, and start all of them again; with resume=RUN_ID they go on "
        "from the latest checkpoint"
    )


def test_single_worker_has_no_other_to_lose():
    with pytest.raises(tf.errors.UnavailableError), distribution.lost_workers(tf.distribute.get_strategy()):
        raise tf.errors.UnavailableError(None, None, "Socket closed")
