"""Every option of the server, read once from the environment. The table is in docs/inference-server.md."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from inference_server.errors import SettingsError
from inference_server.predictors.table import DEFAULT_KIND

DEFAULT_ARTIFACTS = Path("/models") / DEFAULT_KIND
LOG_TO_FILE = "file"
LOG_TO_STDOUT = "stdout"
SHORTEST_TOKEN = 16
"""Characters of an admin token. A shorter one is refused: it could be guessed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Options of one server process; durations in seconds, sizes in bytes, unless said otherwise.

    Attributes:
        artifacts: directory of the model to load at the start.
        models_root: only artefacts below this directory may be loaded by a reload.
        version: reported instead of the artefacts' own version, when given.
        admin_token_file: file with the token that the admin port asks for; ``None``: there is no such port,
            and the model cannot be exchanged while it serves.
        admin_port: where that is, on the same host.
        workers: threads that predict; one each of the processor's cores at most makes sense.
        max_batch: most texts of several waiting requests that one call of the predictor takes; 1 joins none.
        queue_size: most texts that may wait; more are refused as overload.
        queue_timeout: longest wait; a request that waited longer is refused as overload.
        max_body: largest request body.
        max_texts: most texts in one request.
        max_text_characters: longest single text, in characters.
        header_timeout, body_timeout: longest time that a client may take to send either.
        drain: time between SIGTERM and the end of accepting requests.
        shutdown_grace: longest wait for unfinished answers after that.
        log_outputs: where predictions are logged: any of "file" and "stdout".
        log_dir, log_retention_days, log_max_file: of the daily files; a larger one is rotated within the day.
        log_queue: most records that wait for the writer; more are dropped and counted.
        shadow_url: base address of the server that gets copies of requests; ``None`` sends none.
        shadow_queue, shadow_timeout: of the copies.
        disagreements: how many disagreements are kept for export.
        added_latency: seconds added to every prediction; a fault for demonstrations.
    """

    artifacts: Path = DEFAULT_ARTIFACTS
    models_root: Path = Path("/models")
    version: str | None = None
    admin_token_file: Path | None = None
    admin_port: int = 8081
    host: str = "0.0.0.0"  # noqa: S104 - the network namespace of a pod is its own
    port: int = 8080
    pod_name: str = ""
    workers: int = 2
    max_batch: int = 1
    queue_size: int = 512
    queue_timeout: float = 2.0
    max_body: int = 1 << 20
    max_texts: int = 64
    max_text_characters: int = 10_000
    header_timeout: float = 10.0
    body_timeout: float = 10.0
    keep_alive: int = 15
    drain: float = 5.0
    shutdown_grace: float = 10.0
    log_outputs: frozenset[str] = frozenset()
    log_dir: Path = Path("/var/log/inference")
    log_retention_days: int = 14
    log_max_file: int = 100 << 20
    log_queue: int = 10_000
    shadow_url: str | None = None
    shadow_queue: int = 256
    shadow_timeout: float = 2.0
    disagreements: int = 1000
    added_latency: float = 0.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the environment; what is not set keeps its default.

        Raises:
            SettingsError: naming the variable, what was expected and what was seen.
        """
        read = _Reader(os.environ if environment is None else environment)
        return cls(
            artifacts=Path(read.text("INFERENCE_ARTIFACTS", str(DEFAULT_ARTIFACTS))),
            models_root=Path(read.text("INFERENCE_MODELS_ROOT", "/models")),
            version=read.optional("INFERENCE_MODEL_VERSION"),
            admin_token_file=read.token_file(),
            admin_port=read.admin_port(),
            host=read.text("INFERENCE_HOST", "0.0.0.0"),  # noqa: S104
            port=read.integer("INFERENCE_PORT", 8080, low=0, high=65535),
            pod_name=read.text("POD_NAME", read.text("HOSTNAME", "")),
            workers=read.integer("INFERENCE_WORKERS", default_workers(), low=1, high=64),
            max_batch=read.integer("INFERENCE_MAX_BATCH", 1, low=1, high=256),
            queue_size=read.integer("INFERENCE_QUEUE_SIZE", 512, low=1, high=100_000),
            queue_timeout=read.number("INFERENCE_QUEUE_TIMEOUT_SECONDS", 2.0, low=0.01, high=300),
            max_body=read.integer("INFERENCE_MAX_BODY_BYTES", 1 << 20, low=64, high=1 << 28),
            max_texts=read.integer("INFERENCE_MAX_TEXTS", 64, low=1, high=4096),
            max_text_characters=read.integer("INFERENCE_MAX_TEXT_CHARACTERS", 10_000, low=1, high=1_000_000),
            header_timeout=read.number("INFERENCE_HEADER_TIMEOUT_SECONDS", 10, low=0.1, high=600),
            body_timeout=read.number("INFERENCE_BODY_TIMEOUT_SECONDS", 10, low=0.1, high=600),
            keep_alive=read.integer("INFERENCE_KEEP_ALIVE_SECONDS", 15, low=1, high=3600),
            drain=read.number("INFERENCE_DRAIN_SECONDS", 5, low=0, high=600),
            shutdown_grace=read.number("INFERENCE_SHUTDOWN_SECONDS", 10, low=0.1, high=600),
            log_outputs=read.log_outputs(),
            log_dir=Path(read.text("INFERENCE_LOG_DIR", "/var/log/inference")),
            log_retention_days=read.integer("INFERENCE_LOG_RETENTION_DAYS", 14, low=1, high=3650),
            log_max_file=read.integer("INFERENCE_LOG_MAX_FILE_BYTES", 100 << 20, low=1024, high=1 << 40),
            log_queue=read.integer("INFERENCE_LOG_QUEUE", 10_000, low=1, high=1_000_000),
            shadow_url=read.url("SHADOW_URL"),
            shadow_queue=read.integer("SHADOW_QUEUE", 256, low=1, high=100_000),
            shadow_timeout=read.number("SHADOW_TIMEOUT_SECONDS", 2.0, low=0.05, high=60),
            disagreements=read.integer("SHADOW_DISAGREEMENTS", 1000, low=1, high=100_000),
            added_latency=read.added_latency(),
        )


def default_workers() -> int:
    """Return the processor cores this process may use (its affinity and, under cgroups, its CPU limit), 1..4.

    A limit of half a core still gives one worker; more than four fight over the interpreter's lock.
    """
    cores = float(len(os.sched_getaffinity(0)))
    limit = Path("/sys/fs/cgroup/cpu.max")
    quota_v1, period_v1 = (Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    try:
        if limit.exists():
            quota, period = limit.read_text().split()
        else:
            quota, period = quota_v1.read_text().strip(), period_v1.read_text().strip()
        if quota not in {"max", "-1"}:
            cores = min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        pass  # no limit that can be read: the affinity alone counts
    return max(1, min(4, math.ceil(cores)))


class _Reader:
    """Typed look-ups that name the variable when its value is of no use."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name, "").strip() or default

    def optional(self, name: str) -> str | None:
        return self._environment.get(name, "").strip() or None

    def path(self, name: str) -> Path | None:
        value = self.optional(name)
        return Path(value) if value else None

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        raw = self.optional(name)
        if raw is None:
            return default
        try:
            value = float(raw)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise SettingsError(name, expected=f"a number from {low:g} to {high:g}", seen=raw)
        return value

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        value = self.number(name, default, low=low, high=high)
        if value != int(value):
            raise SettingsError(name, expected=f"a whole number from {low} to {high}", seen=str(value))
        return int(value)

    def url(self, name: str) -> str | None:
        raw = self.optional(name)
        if raw is None:
            return None
        parts = urlsplit(raw)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(name, expected="an address such as http://model-shadow:8080", seen=raw)
        return raw.rstrip("/")

    def token_file(self) -> Path | None:
        """Return the file of the admin token, which must hold one; without a file there is no admin port."""
        if self.optional("INFERENCE_RELOAD_TOKEN_FILE"):
            raise SettingsError(
                "INFERENCE_RELOAD_TOKEN_FILE",
                expected="INFERENCE_ADMIN_TOKEN_FILE instead: a reload is asked for on the admin port",
                seen="the former name",
            )
        name = "INFERENCE_ADMIN_TOKEN_FILE"
        path = self.path(name)
        if path is None:
            return None
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                name, expected="a file with the admin token", seen=f"{path}: {type(error).__name__}"
            ) from error
        if len(token) < SHORTEST_TOKEN:
            raise SettingsError(
                name,
                expected=f"a token of {SHORTEST_TOKEN} characters at least in {path}",
                seen=f"{len(token)} characters",
            )
        return path

    def admin_port(self) -> int:
        name = "INFERENCE_ADMIN_PORT"
        if self.optional(name) and not self.optional("INFERENCE_ADMIN_TOKEN_FILE"):
            raise SettingsError(
                name,
                expected="INFERENCE_ADMIN_TOKEN_FILE beside it: there is no admin port without a token",
                seen="no token",
            )
        port = self.integer(name, 8081, low=0, high=65535)
        if self.optional("INFERENCE_ADMIN_TOKEN_FILE") is None:
            return port  # nothing listens there
        if port and port == self.integer("INFERENCE_PORT", 8080, low=0, high=65535):
            raise SettingsError(name, expected="another port than INFERENCE_PORT", seen=str(port))
        return port

    def log_outputs(self) -> frozenset[str]:
        name = "INFERENCE_LOG_OUTPUTS"
        raw = self.text(name, LOG_TO_STDOUT)
        outputs = frozenset(part.strip() for part in raw.split(",") if part.strip())
        if outputs == {"none"}:
            return frozenset()
        if not outputs <= {LOG_TO_FILE, LOG_TO_STDOUT}:
            raise SettingsError(name, expected='"none" or a list of "file" and "stdout"', seen=raw)
        return outputs

    def added_latency(self) -> float:
        name = "INFERENCE_ADDED_LATENCY_MS"
        milliseconds = self.number(name, 0.0, low=0.0, high=60_000)
        if milliseconds and self.optional("INFERENCE_ALLOW_FAULTS") != "1":
            raise SettingsError(
                name, expected="to be unset, or INFERENCE_ALLOW_FAULTS=1 beside it", seen=f"{milliseconds:g}"
            )
        return milliseconds / 1000
