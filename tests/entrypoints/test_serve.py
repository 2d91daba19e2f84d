from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import warnings
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner

from entrypoints.serve import _listening, serve
from tests.quadrants import LABEL_MAP

ROOT = Path(__file__).parents[2]


def test_port_that_is_taken_is_told_before_anything_is_loaded(tracking_store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(serve, ["--port", str(port)])
    assert (result.exit_code, result.output) == (
        1,
        f"Error: host 127.0.0.1, port {port}: Address already in use; pass another with -P port= or -P host=\n",
    )


def test_host_that_is_none_is_told(tracking_store):
    result = CliRunner().invoke(serve, ["--host", "no host"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: host no host, port 5001: ")


def test_answers_leave_without_waiting_for_the_receiver():
    with _listening("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.filterwarnings("ignore")
def test_model_that_is_not_registered_is_told(tracking_store):
    result = CliRunner().invoke(serve, ["--port", "0"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: model: models:/detector@champion cannot be loaded (")
    assert result.output.endswith("); see Models in mlflow ui\n")
    assert result.output.count("\n") == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_registered_detector_is_served_until_it_is_stopped(graph, tracking_store):
    from odml.serving import log_detector

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mlflow.start_run():
            uri = log_detector(graph, classes=LABEL_MAP.names, metadata={})
        mlflow.register_model(uri, "detector")
    mlflow.MlflowClient().set_registered_model_alias("detector", "champion", "1")
    command = [sys.executable, "-W", "ignore", "-m", "entrypoints.serve", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        announced = process.stdout.readline()
        assert announced.startswith("models:/detector@champion: http://127.0.0.1:"), announced + process.stderr.read()
        url = announced.split()[1]
        with urllib.request.urlopen(f"{url}about") as about:
            assert json.load(about)["title"] == "detector@champion"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "the server has ended\n"
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
