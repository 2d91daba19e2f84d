"""The chain against an MLflow server that has a database, keeps the artifacts, and asks for a password."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
import mlflow
import pytest
from click.testing import CliRunner, Result
from werkzeug.security import generate_password_hash

from entrypoints.compare import compare
from entrypoints.evaluate import evaluate
from entrypoints.lineage import lineage
from entrypoints.prepare import prepare
from entrypoints.register import register
from entrypoints.train import train
from entrypoints.trained_model import fetch_training
from odml.known_datasets import draw_shapes
from odml.tracking import start_run
from tests import tiny

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
USER, PASSWORD = "admin", f"pass-{secrets.token_hex(8)}"
START_SECONDS = 240
TRAINING = ["--model", "tiny.yml", "--batch-size", "4", "--seed", "1"]
STEPS = ["--train-steps", "2", "--checkpoint-every", "1", "--eval-every", "2"]


@dataclass(frozen=True)
class Server:
    """A running server: its host and port, and the folder that has all that it keeps."""

    host: str
    folder: Path

    @property
    def address(self) -> str:
        return f"http://{self.host}"

    def address_with(self, password: str) -> str:
        return f"http://{USER}:{password}@{self.host}"

    def files_with(self, text: str) -> list[Path]:
        return [each for each in self.folder.rglob("*") if each.is_file() and text.encode() in each.read_bytes()]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"),
        *("--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")} | {
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, folder / "server.log")
            _hash_quickly(folder / "basic_auth.db")
            yield Server(f"127.0.0.1:{port}", folder)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    started = time.monotonic()
    while time.monotonic() - started < START_SECONDS and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(log.read_text())


def _hash_quickly(database: Path) -> None:
    """Hash the password in a way that takes no time; the server checks it twice for each of some hundred requests."""
    hashed = generate_password_hash(PASSWORD, "pbkdf2:sha256:1")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE users SET password_hash = ? WHERE username = ?", (hashed, USER))


@pytest.fixture
def client(server, tmp_path, monkeypatch) -> Path:
    """A folder to work in, with the server as the tracking store and the password in its address."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_") and name != "MLFLOW_DISABLE_TELEMETRY"]:
        monkeypatch.delenv(name)
    # Set first, so that what odml sets of them is gone afterwards.
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address_with(PASSWORD))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "remote")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: click.Command, *options: str) -> Result:
    return CliRunner().invoke(command, options)


def export() -> None:
    """Leave a run of export_and_freeze of the latest training, with a model but without a network in it."""
    with start_run("export_and_freeze", model="tiny") as exported:
        fetch_training(exported, "", "best")
        exported.tag("odml.step", 2)
        (exported.artifact_folder("graph").path / "README.md").write_text("# tiny\n")
        mlflow.create_external_model(name="detector", source_run_id=exported.id)


def test_chain_works_and_the_password_is_nowhere(server, client, caplog):
    images, annotations = draw_shapes(client / "shapes", images=12, seed=1)
    (client / "tiny.yml").write_text(tiny.MODEL)
    outputs = []
    for command, options in (
        (prepare, ["--images", str(images), "--annotations", str(annotations), "--seed", "1"]),
        (train, [*TRAINING, *STEPS]),
        (evaluate, []),
        (None, []),
        (register, []),
        (lineage, []),
        (compare, []),
        (compare, ["--runs", "models:/detector@champion,models:/detector/1"]),
    ):
        if command is None:
            export()
            continue
        result = run(command, *options)
        assert result.exit_code == 0, result.output
        outputs.append(result.output)
    tree, listed = outputs[-3], outputs[-2]
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [
        "register",
        "export_and_freeze",
        "evaluate",
        "train",
        "prepare",
    ]
    digest = mlflow.search_runs(filter_string="tags.`odml.operation` = 'prepare'", output_format="list")[0].data.tags[
        "odml.data.digest"
    ]
    assert f"photos: {images}\n" in tree
    assert f", digest {digest}\n" in tree
    assert f"{server.address}/#/models/detector/versions/1\n" in tree
    assert f"Both were measured on the same data ({digest}).\n" in outputs[-1]
    # Nothing that was fetched or made on the way is left behind on this machine.
    assert sorted(path.name for path in client.iterdir()) == ["shapes", "tiny.yml"]
    assert not [text for text in [*outputs, caplog.text] if PASSWORD in text]
    assert server.files_with(digest), "tags are not where they are looked for"
    assert server.files_with(PASSWORD) == []
    # The training has fetched all records, the evaluation those that it measured on; evaluation and export have
    # fetched one of the two checkpoints each.
    requests = (server.folder / "server.log").read_text().splitlines()
    fetched = [line.partition("HTTP")[0] for line in requests if "GET" in line]
    wanted = ("/dataset/train-", "/dataset/val-", "/train/model.ckpt-1.data-", "/train/model.ckpt-2.data-")
    assert [len([line for line in fetched if name in line]) for name in wanted] == [1, 2, 0, 2]


def test_mlflow_run_works_with_the_password_in_its_variables(server, client):
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": server.address,
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    command = [sys.executable, "-m", "mlflow", "run", str(ROOT), "-e", "compare", "--env-manager", "local"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "experiment remote has no such run" in done.stdout or "operation" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr


def test_wrong_password_is_one_line_without_it(server, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address_with("wrong-word"))
    result = run(compare)
    assert (result.exit_code, result.output) == (
        1,
        f"Error: tracking store {server.address}: does not know this user and password; check "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD\n",
    )
    result = run(register)
    assert (result.exit_code, result.output.count("\n"), "wrong-word" in result.output) == (1, 1, False)
