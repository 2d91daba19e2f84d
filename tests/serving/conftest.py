"""odml's server with the network that sees quadrants behind it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from tests.quadrants import LABEL_MAP


@pytest.fixture(scope="session")
def app(graph: Path, tmp_path_factory: pytest.TempPathFactory):
    """The ASGI application."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as monkeypatch:
        warnings.filterwarnings("ignore", module="mlflow")
        # Later tests must not take themselves for a server.
        monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        from odml.serving import save_detector
        from odml.serving.app import build, load

        folder = tmp_path_factory.mktemp("served") / "model"
        save_detector(graph, folder, classes=LABEL_MAP.names)
        yield build(load(str(folder)), title="quadrants")


@contextmanager
def running(app) -> Iterator[str]:
    """Run an application in a thread while the block runs, and give its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
