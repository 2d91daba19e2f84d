"""What serving costs beside the network: a real server under load, and its bare frozen graph, taking turns.

    python -m benchmarks.serving                     5 seconds of load for each number of clients
    python -m benchmarks.serving --seconds 100       longer, for the memory
    python -m benchmarks.serving --server mlflow     mlflow models serve in place of the operation serve

Prints requests a second, latencies and CPU time of each stage, and ends with ``serving: ratio=... p50_ms=... p95_ms=...
p99_ms=... failed=... memory_growth_mb=...``: the requests a second over the pictures a second of the bare graph run by
as many threads, both of all stages together; the latencies of the stage of 4 clients; the server's memory after all
stages less that after the warm-up. A request is one JPEG of 640 x 480 pixels. The clients are threads of this process,
which also runs the graph, in turns of a second: what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks.fuzz_serving import saved_model

CLIENTS = (1, 4, 16)
SHOWN_CLIENTS = 4
TURN_SECONDS = 1.0
SECONDS_TO_START = 300
WARM_UP_REQUESTS = 50
BATCH = 8
BATCH_TURNS = 20

Call = Callable[[], bool]


@dataclass
class Stage:
    """What some callers did in their turns: seconds of each call, and of processor time."""

    wall: float = 0.0
    cpu: float = 0.0
    failed: int = 0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.latencies) / self.wall

    def milliseconds(self, percent: float) -> float:
        """Give a percentile of the latencies."""
        return float(np.percentile(self.latencies, percent)) * 1000

    @property
    def cpu_milliseconds(self) -> float:
        """Processor time a call."""
        return self.cpu / max(len(self.latencies), 1) * 1000


def photo() -> bytes:
    """Draw a JPEG as large as a photo of its size: blurred blobs with a little noise."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    noisy = np.clip(np.asarray(coarse) + random.normal(0, 6, (480, 640, 3)), 0, 255).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noisy).save(encoded, "jpeg", quality=85)
    return encoded.getvalue()


def turn(stage: Stage, calls: list[Call], cpu_seconds: Callable[[], float]) -> None:
    """Let callers, a thread each, call as fast as they can for a turn."""
    until = time.perf_counter() + TURN_SECONDS
    counting = threading.Lock()

    def work(call: Call) -> None:
        ended = 0.0
        while ended < until:
            started = time.perf_counter()
            succeeded = call()
            ended = time.perf_counter()
            with counting:
                stage.failed += not succeeded
                stage.latencies.append(ended - started)

    started, cpu = time.perf_counter(), cpu_seconds()
    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stage.wall += time.perf_counter() - started
    stage.cpu += cpu_seconds() - cpu


def client(port: int, body: bytes) -> Call:
    """Give what asks once over a connection that stays open, and says whether the answer was good."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Content-Type": "application/json"}

    def ask() -> bool:
        try:
            connection.request("POST", "/invocations", body, headers)
            answer = connection.getresponse()
            return answer.status == 200 and answer.read().startswith(b'{"predictions": [{')
        except (OSError, http.client.HTTPException):
            connection.close()
            return False

    return ask


def bare(model: Path, image: np.ndarray) -> Call:
    """Give what runs a served model's frozen graph once."""
    import tensorflow.compat.v1 as v1

    from benchmarks import latency

    graph = v1.GraphDef()
    graph.ParseFromString((model / "artifacts" / "graph" / "frozen_inference_graph.pb").read_bytes())
    run = latency.runner(graph, image)
    return lambda: bool(run())


@contextmanager
def served(model: Path, kind: str) -> Iterator[tuple[int, psutil.Process]]:
    """Start a server; give its port and the process that answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = {
        "odml": ["entrypoints.serve", "--model", str(model), "--port", str(port)],
        "mlflow": ["mlflow", "models", "serve", "-m", str(model), "--env-manager", "local", "--port", str(port)],
    }[kind]
    own = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command], stdout=log, stderr=log, env=os.environ | {"PATH": own}
        )
        try:
            _wait(port, server)
            family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            yield port, max(family, key=lambda process: process.memory_info().rss)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("serving: the server does not start")


def measure(
    port: int, process: psutil.Process, network: Call, body: bytes, clients: int, seconds: float
) -> tuple[Stage, Stage]:
    """Let clients of the server and callers of the graph take turns; print what each did."""
    asking, running = Stage(), Stage()
    calls = [client(port, body) for _ in range(clients)]
    while asking.wall < seconds:
        turn(asking, calls, lambda: sum(process.cpu_times()[:2]))
        turn(running, [network] * clients, time.process_time)
    print(
        f"{clients} clients: {asking.rate:.1f} requests/s over {running.rate:.1f} of the bare graph ="
        f" {asking.rate / running.rate:.3f}; p50 {asking.milliseconds(50):.0f}, p95 {asking.milliseconds(95):.0f}, p99"
        f" {asking.milliseconds(99):.0f} ms; CPU {asking.cpu_milliseconds:.1f} of the server and"
        f" {running.cpu_milliseconds:.1f} ms of the graph a picture; {asking.failed} failed",
        flush=True,
    )
    return asking, running


def measure_batches(model: Path, image: np.ndarray) -> None:
    """Print what pictures of one size cost one by one, and as one batch."""
    from odml.detector import Detector

    detectors = {size: Detector.load(model / "artifacts" / "graph", batch_size=size) for size in (1, BATCH)}
    spent: dict[int, list[float]] = {size: [] for size in detectors}
    for _ in range(BATCH_TURNS):
        for size, detector in detectors.items():
            started = time.process_time()
            detector.detect([image] * BATCH)
            spent[size].append((time.process_time() - started) / BATCH * 1000)
    medians = {size: float(np.median(each)) for size, each in spent.items()}
    print(f"rows of one size: {medians[1]:.1f} CPU ms a picture one by one, {medians[BATCH]:.1f} as batches of {BATCH}")


def main() -> int:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="folder of a served model; default: an SSD with fresh weights")
    parser.add_argument("--server", choices=("odml", "mlflow"), default="odml")
    parser.add_argument("--seconds", type=float, default=5, help="of load for each number of clients")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _measure(options.model or saved_model(Path(folder), "ssd_mobilenet_v2"), options)


def _measure(model: Path, options: argparse.Namespace) -> int:
    from odml.images import read_image

    encoded = photo()
    image = read_image(encoded)
    body = json.dumps({"inputs": [{"image": base64.b64encode(encoded).decode()}]}).encode()
    network = bare(model, image)
    measure_batches(model, image)
    with served(model, options.server) as (port, process):
        ask = client(port, body)
        for _ in range(WARM_UP_REQUESTS):
            ask(), network()
        before = process.memory_info().rss
        stages = {clients: measure(port, process, network, body, clients, options.seconds) for clients in CLIENTS}
        growth = (process.memory_info().rss - before) / 2**20
    asked, ran = zip(*stages.values(), strict=True)
    ratio = sum(stage.rate for stage in asked) / sum(stage.rate for stage in ran)
    failed = sum(stage.failed for stage in asked)
    shown = stages[SHOWN_CLIENTS][0]
    latencies = " ".join(f"p{percent}_ms={shown.milliseconds(percent):.0f}" for percent in (50, 95, 99))
    print(f"serving: ratio={ratio:.3f} {latencies} failed={failed} memory_growth_mb={growth:.1f}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
