"""A predictor whose behaviour a test chooses by its texts, and a real server process around it.

`python -m tests.support.inference` serves it with the settings of the environment; the "artefact" is a
directory with a `fake.json` such as {"version": "1"}.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from inference_server.artifacts import ArtifactError
from inference_server.predictors.base import ModelInfo, Prediction
from inference_server.predictors.emotion.kind import KIND
from inference_server.predictors.emotion.label_sets import ROUTES

ROOT = Path(__file__).resolve().parents[2]
LABELS = ("joy", "fear", "frustration", "sadness", "anger", "surprise", "disgust", "neutral")
BUSY_SECONDS = 0.02


class FakePredictor:
    """Answers "joy" with 0.9, unless the text says otherwise.

    "label=X" sets the label, "confidence=X" the confidence, "route=X" the route; "mismatch" and "rule" report
    one; "slow" holds the thread for `BUSY_SECONDS`, "very slow" for ten times that; "raise" breaks the
    promise.
    """

    def __init__(self, version: str = "1") -> None:
        self.name = "emotion"
        self.version = version
        self.info = ModelInfo(
            artifact_sha256="a" * 64, config_sha256="b" * 64, encoder="fake", dimension=8, labels=LABELS
        )
        self.closed = False
        self.calls: list[int] = []
        self.hold = threading.Event()
        self.hold.set()

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        if self.closed:
            raise RuntimeError("predict after close")
        self.hold.wait(10)
        self.calls.append(len(texts))
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Prediction:
        if "raise" in text:
            raise RuntimeError("the text said so")
        if "slow" in text:
            time.sleep(BUSY_SECONDS * (10 if "very slow" in text else 1))
        options = dict(word.split("=", 1) for word in text.split() if word.count("=") == 1)
        label = options.get("label", "joy")
        label = label if label in LABELS else "joy"
        confidence = float(options.get("confidence", "0.9"))
        route = options.get("route", "linear_head")
        mismatches = ("linear_head",) if "mismatch" in text else ()
        return Prediction(
            label=label,
            confidence=confidence,
            route=route if route in ROUTES else "linear_head",
            scores={name: confidence if name == label else (1 - confidence) / 7 for name in LABELS},
            rule="anger_frustration" if "rule" in text else None,
            fallbacks=("dimension_mismatch",) if mismatches else (),
            dimension_mismatches=mismatches,
            low_confidence=confidence < 0.4,
        )

    def close(self) -> None:
        self.closed = True


def write_fake(directory: Path, **fields: Any) -> Path:
    """Write a fake artefact directory; `broken: true` refuses to load, `seconds` is the time to load."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "fake.json").write_text(json.dumps({"version": "1", **fields}))
    return directory


def load_fake(directory: Path) -> FakePredictor:
    """A loader for `write_fake`'s directories."""
    file = directory / "fake.json"
    if not file.exists():
        raise ArtifactError(file, expected="the manifest of the artefacts", seen="there is no such file")
    fields = json.loads(file.read_text())
    time.sleep(fields.get("seconds", 0))
    if fields.get("broken"):
        raise ArtifactError(file, expected="SHA-256 aaaa", seen="it has bbbb")
    return FakePredictor(fields["version"])


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """A running server; `url`, `process`, `log`."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Until the server says that it is ready."""
        ends = time.monotonic() + timeout
        while time.monotonic() < ends:
            if self.process.poll() is not None:
                raise AssertionError(f"server ended with {self.process.returncode}: {self.log.read_text()}")
            try:
                if httpx.get(f"{self.url}/v2/health/ready", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"server was not ready within {timeout} s: {self.log.read_text()}")

    def terminate(self) -> None:
        """What the kubelet does first."""
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def server_process(
    directory: Path,
    *,
    module: str = "tests.support.inference",
    arguments: tuple[str, ...] = (),
    ready: bool = True,
    **environment: str,
) -> Iterator[ServerProcess]:
    """A real server process on a free port; killed at the end if it still runs."""
    directory.mkdir(parents=True, exist_ok=True)
    if "INFERENCE_ARTIFACTS" not in environment:
        environment["INFERENCE_ARTIFACTS"] = str(write_fake(directory / "models" / "emotion"))
    port = free_port()
    paths = os.pathsep.join([str(ROOT), str(ROOT / "inference-image" / "src")])
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": paths,
        "INFERENCE_HOST": "127.0.0.1",
        "INFERENCE_PORT": str(port),
        "INFERENCE_MODELS_ROOT": str(directory / "models"),
        "INFERENCE_LOG_OUTPUTS": "none",
        "POD_NAME": "emotion-1-abc12-xyz34",
        **environment,
    }
    log = directory / f"server-{port}.log"
    with log.open("wb") as stream:
        arguments = ("serve",) if module == "inference_server" else arguments
        command = [sys.executable, "-m", module, *arguments]
        process = subprocess.Popen(command, env=variables, stdout=stream, stderr=stream, cwd=ROOT)
        server = ServerProcess(process, f"http://127.0.0.1:{port}", log)
        try:
            if ready:
                server.wait_ready()
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(10)


def main() -> None:
    """Serve fake artefacts as if they were an emotion classifier."""
    from inference_server.api.server import run
    from inference_server.settings import Settings

    sys.exit(run(Settings.from_environment(), KIND, load_fake))


if __name__ == "__main__":
    main()
