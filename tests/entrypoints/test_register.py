from __future__ import annotations

import mlflow
import pytest
from click.testing import CliRunner, Result
from mlflow.entities.model_registry import ModelVersion

from entrypoints.register import register
from odml.serving.packaging import CURL
from odml.tracking import Run, start_run

CARD = "# ssd\n\nA detector of red things.\n"


def export(trained: Run, *, step: int, parity: str = "") -> str:
    """Leave a run of export_and_freeze as that operation does, with a model but without a network in it."""
    with start_run("export_and_freeze", model="ssd") as run:
        run.input("trained_model", trained.id, operations=("train",), artifact="train")
        run.tag("odml.step", step)
        if parity:
            run.tag("odml.parity", parity)
        (run.artifact_folder("graph").path / "README.md").write_text(CARD)
        (run.artifact_folder("graph").path / "labels.pbtxt").write_text("x")
        mlflow.create_external_model(name="detector", source_run_id=run.id)
    return run.id


def evaluate(trained: Run, *, step: int, score: float, split: str = "val", digest: str = "d1") -> str:
    with start_run("evaluate", model="ssd") as run:
        run.input("trained_model", trained.id, operations=("train",), artifact="train")
        run.tag("odml.step", step)
        run.tag("odml.split", split)
        run.tag("odml.data.digest", digest)
        run.tag("odml.evaluated_images", 60)
        run.log_metrics({"eval/coco/mAP": score, "eval/coco/mAP_50": 0.9})
    return run.id


@pytest.fixture
def trained(tracking_store) -> Run:
    with start_run("train", model="ssd") as run:
        (run.artifact_folder("train").path / "checkpoint").write_text("x")
        run.tag("odml.data.digest", "d1")
    return run


def test_export_becomes_a_version_that_says_where_it_comes_from(trained):
    evaluate(trained, step=10, score=0.1)
    evaluated = evaluate(trained, step=20, score=0.51234)
    evaluate(trained, step=20, score=0.2, split="test")
    exported = export(trained, step=20)
    result = CliRunner().invoke(register)
    assert result.exit_code == 0, result.stderr
    version = mlflow.MlflowClient().get_model_version_by_alias("detector", "champion")
    assert version.tags == {
        "odml.export_run": exported,
        "odml.training_run": trained.id,
        "odml.model": "ssd",
        "odml.step": "20",
        "odml.data.digest": "d1",
        "odml.evaluation_run": evaluated,
        "odml.mAP": "0.5123",
        "odml.mAP_50": "0.9000",
        "odml.configuration": f"runs:/{exported}/config.yml",
        "odml.gate": "first: no version has the alias",
    }


def test_model_that_was_not_evaluated_has_no_score(trained):
    export(trained, step=20)
    assert CliRunner().invoke(register).exit_code == 0
    tags = mlflow.MlflowClient().get_model_version_by_alias("detector", "champion").tags
    assert "odml.mAP" not in tags


def test_commands_to_serve_and_ask_are_printed(trained):
    export(trained, step=20)
    result = CliRunner().invoke(register)
    assert result.stdout == (
        "registered detector version 1 as models:/detector@champion\n\n"
        "Serve it:\n\n"
        "mlflow models serve -m models:/detector@champion --env-manager local --port 5001\n\n"
        f"and ask it:\n\n{CURL}\n\n"
        "Or serve it with a page to drop photos on:\n\n"
        "mlflow run . -e serve --env-manager local -P model=models:/detector@champion\n"
    )


def test_version_without_an_alias_is_served_by_its_number(trained):
    export(trained, step=20)
    result = CliRunner().invoke(register, ["--name", "raccoons", "--alias", ""])
    assert "mlflow models serve -m models:/raccoons/1 --env-manager local" in result.stdout


def test_nothing_to_register_says_what_to_run_first(tracking_store):
    result = CliRunner().invoke(register)
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: experiment tests: no run of export_and_freeze with graph/ found; "
        'run "mlflow run . -e export_and_freeze" first, or pass -P export=\n',
    )


def test_folder_cannot_be_registered(tracking_store):
    (tracking_store / "graph").mkdir()
    result = CliRunner().invoke(register, ["--export", "graph"])
    expected = "Error: export: graph is a folder, not a run with a model; give a run of export_and_freeze\n"
    assert (result.exit_code, result.stderr) == (1, expected)


def version(alias_or_number: str) -> ModelVersion | None:
    client = mlflow.MlflowClient()
    if alias_or_number.isdecimal():
        return client.get_model_version("detector", alias_or_number)
    found = client.get_registered_model("detector").aliases.get(alias_or_number)
    return client.get_model_version("detector", found) if found else None


def numbers() -> dict[str, int]:
    """Give the version that each alias has."""
    return {
        name: int(number) for name, number in mlflow.MlflowClient().get_registered_model("detector").aliases.items()
    }


def train(digest: str = "d1") -> Run:
    with start_run("train", model="ssd") as run:
        (run.artifact_folder("train").path / "checkpoint").write_text("x")
        run.tag("odml.data.digest", digest)
    return run


@pytest.fixture
def champion(trained) -> Run:
    """The training of version 1, the champion, which has an mAP of .5."""
    evaluate(trained, step=20, score=0.5)
    export(trained, step=20)
    assert CliRunner().invoke(register).exit_code == 0
    return trained


def challenge(score: float | None, *options: str, digest: str = "d1", parity: str = "") -> Result:
    """Register another training's export."""
    other = train(digest)
    if score is not None:
        evaluate(other, step=20, score=score, digest=digest)
    export(other, step=20, parity=parity)
    return CliRunner().invoke(register, options)


def test_version_that_is_worse_on_the_same_data_becomes_the_challenger(champion):
    result = challenge(0.45)
    reason = "mAP 0.4500 against 0.5000 of version 1 on the same data d1, worse by more than 0.01"
    assert (result.exit_code, result.stdout) == (1, "")
    # MLflow itself tells of the new version there.
    assert result.stderr.splitlines()[-1] == (
        f"Error: model detector: version 2 is challenger and not champion: {reason}; look at both with "
        "-e compare -P runs=models:/detector@champion,models:/detector/2, or pass -P force=true"
    )
    assert numbers() == {"champion": 1, "challenger": 2}
    assert version("2").tags["odml.gate"] == f"refused: {reason}"
    (run,) = mlflow.search_runs(filter_string="attributes.status = 'FAILED'", output_format="list")
    assert run.data.tags["odml.registered"] == "models:/detector/2"


def test_force_moves_the_alias_all_the_same_and_says_so(champion):
    assert challenge(0.45).exit_code == 1
    result = CliRunner().invoke(register, ["--force", "true"])
    assert result.exit_code == 0, result.output
    forced = "forced: mAP 0.4500 against 0.5000 of version 1 on the same data d1, worse by more than 0.01"
    assert result.stdout.splitlines()[:2] == [
        "registered detector version 2 as models:/detector@champion",
        f"{forced}; version 1 is models:/detector@previous",
    ]
    assert numbers() == {"champion": 2, "previous": 1}  # and no challenger any more
    assert version("2").tags["odml.gate"] == forced


def test_version_that_is_as_good_takes_the_alias(champion):
    result = challenge(0.5)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1] == (
        "passed: mAP 0.5000 against 0.5000 of version 1 on the same data d1; version 1 is models:/detector@previous"
    )
    assert numbers() == {"champion": 2, "previous": 1}


def test_tolerance_is_the_users(champion):
    assert challenge(0.45, "--tolerance", "0.06").exit_code == 0


def test_export_that_differs_from_its_checkpoint_is_refused_how_good_it_may_be(champion):
    result = challenge(0.9, parity="failed")
    assert result.exit_code == 1
    assert "not champion: its export does not give what its checkpoint gives; " in result.stderr
    assert numbers() == {"champion": 1, "challenger": 2}


@pytest.mark.parametrize(
    ("score", "digest", "reason"),
    [
        (0.1, "d2", "version 2 was measured on data d2, version 1 on d1"),
        (None, "d1", "version 2 has no evaluation"),
    ],
)
def test_version_that_cannot_be_compared_takes_the_alias_and_says_so(champion, score, digest, reason):
    result = challenge(score, digest=digest)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1] == f"not compared: {reason}; version 1 is models:/detector@previous"
    assert numbers() == {"champion": 2, "previous": 1}


def test_evaluation_of_the_champion_on_the_new_data_makes_them_comparable(champion):
    evaluate(champion, step=20, score=0.3, digest="d2")
    assert challenge(0.1, digest="d2").exit_code == 1


def test_what_trainings_have_measured_themselves_is_compared_where_there_is_no_evaluation(trained):
    for score in (0.5, 0.3):
        other = train()
        with start_run("train", resume=other.id) as run:
            run.log_metrics({"eval/coco/mAP": score}, step=20)
            run.log_metrics({"eval/coco/mAP": 0.9}, step=30)
        export(other, step=20)
        result = CliRunner().invoke(register)
    assert result.exit_code == 1
    assert "mAP 0.3000 against 0.5000 of version 1 on the same data d1" in result.stderr


def test_same_export_again_is_no_new_version(champion):
    result = CliRunner().invoke(register)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:2] == [
        "registered detector version 1 as models:/detector@champion",
        "kept: it has the alias already",
    ]
    assert numbers() == {"champion": 1}


def test_challenger_is_no_alias_to_be_guarded(champion):
    assert challenge(0.1, "--alias", "challenger").exit_code == 0
    assert challenge(0.05, "--alias", "challenger").exit_code == 0
    assert numbers() == {"champion": 1, "challenger": 3}
    assert "odml.gate" not in version("3").tags


def test_version_shows_links_to_its_runs_and_the_model_card(champion):
    found = version("champion")
    experiment = mlflow.get_experiment_by_name("tests").experiment_id
    links = [
        f"[{what}](#/experiments/{experiment}/runs/{found.tags[f'odml.{tag}_run']})"
        for what, tag in (("export", "export"), ("training", "training"), ("evaluation", "evaluation"))
    ]
    assert found.description == (f"Runs: {' · '.join(links)}\n\nGate: first: no version has the alias\n\n{CARD}")
