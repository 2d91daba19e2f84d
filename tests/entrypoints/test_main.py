"""The chain, on a copy of the project whose other steps only record what they were asked to do."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result

from entrypoints.main import main
from odml.known_datasets import known
from odml.tracking import projects

ROOT = Path(__file__).parents[2]

RECORD = """
import json, os, signal, sys, time
step, *arguments = sys.argv[1:]
with open("steps.jsonl", "a") as file:
    file.write(json.dumps([step, dict(zip(arguments[::2], arguments[1::2], strict=True))]) + chr(10))
if step == "train":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
if step == os.environ.get("FAILING_STEP"):
    sys.exit(1)
"""


@pytest.fixture
def project(tracking_store, monkeypatch) -> Path:
    text = (ROOT / "MLproject").read_text().replace("python -m entrypoints.", "python record.py ")
    (tracking_store / "MLproject").write_text(text)
    (tracking_store / "conda.yaml").write_text("{}")
    (tracking_store / "record.py").write_text(RECORD)
    for folder in ("images", "annotations"):
        (tracking_store / folder).mkdir()
    monkeypatch.setattr(projects, "PROJECT", tracking_store)
    return tracking_store


def run_main(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["--images", "images", "--annotations", "annotations", *arguments])


def steps(project: Path) -> list[tuple[str, dict[str, str]]]:
    return [json.loads(line) for line in (project / "steps.jsonl").read_text().splitlines()]


def run_ids(result: Result) -> dict[str, str]:
    return dict(line.split(": run ") for line in result.stdout.splitlines() if ": run " in line)


def test_each_step_gets_what_the_one_before_has_made(project):
    result = run_main("--train-steps", "7", "--seed", "3", "--name", "mine", "--gpus", "none")
    assert result.exit_code == 0, result.output
    runs, asked = run_ids(result), dict(steps(project))
    assert list(asked) == ["prepare", "transfer_learn", "evaluate", "export_and_freeze", "detect", "register"]
    assert list(runs) == list(asked)
    assert (asked["prepare"]["--images"], asked["prepare"]["--seed"]) == ("images", "3")
    training = asked["transfer_learn"]
    assert (training["--dataset"], training["--train-steps"]) == (runs["prepare"], "7")
    assert (training["--weights"], training["--gpus"], training["--batch-size"]) == ("coco", "none", "")
    assert asked["evaluate"]["--trained-model"] == runs["transfer_learn"]
    assert asked["export_and_freeze"]["--trained-model"] == runs["transfer_learn"]
    assert (asked["register"]["--export"], asked["register"]["--name"]) == (runs["export_and_freeze"], "mine")
    assert (asked["detect"]["--export"], asked["detect"]["--images"]) == (runs["export_and_freeze"], "images")


def test_steps_are_children_of_the_chains_run(project):
    runs = run_ids(run_main())
    parents = {mlflow.get_run(run_id).data.tags["mlflow.parentRunId"] for run_id in runs.values()}
    (chain,) = mlflow.search_runs(filter_string="tags.`odml.operation` = 'main'", output_format="list")
    assert parents == {chain.info.run_id}


def test_step_that_fails_ends_the_chain(project, monkeypatch):
    monkeypatch.setenv("FAILING_STEP", "evaluate")
    result = run_main()
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        1,
        "Error: step evaluate: failed; its message is above",
    )
    assert [step for step, _ in steps(project)] == ["prepare", "transfer_learn", "evaluate"]


def test_training_that_is_stopped_is_passed_on_with_what_it_has_learned(project):
    result = run_main("--operation", "train")
    assert result.exit_code == 0, result.output
    assert "train was stopped (SIGTERM); going on with what it has learned\n" in result.stdout
    assert [step for step, _ in steps(project)][-1] == "register"
    assert "--weights" not in dict(steps(project))["train"]


def test_folder_to_detect_in_is_looked_for_before_all_else(project):
    result = run_main("--detect-images", "nowhere")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: detect_images: there is no folder nowhere; give one, or leave it out\n",
    )
    assert not (project / "steps.jsonl").exists()


def test_chain_takes_a_known_data_set_in_place_of_folders(project, monkeypatch):
    monkeypatch.setenv("ODML_CACHE", str(project / "cache"))
    monkeypatch.setattr(known, "_SHAPES", 1)
    result = CliRunner().invoke(main, ["--dataset", "shapes"])
    assert result.exit_code == 0, result.output
    asked = dict(steps(project))
    assert [asked["prepare"][f"--{name}"] for name in ("dataset", "images", "annotations")] == ["shapes", "", ""]
    assert asked["detect"]["--images"] == str(project / "cache/shapes/data/images")


def test_chain_needs_folders_or_a_known_data_set(project):
    result = CliRunner().invoke(main, ["--images", "images"])
    assert result.exit_code == 2
    assert "annotations not given; give images and annotations, or dataset" in result.stderr
    assert not (project / "steps.jsonl").exists()
