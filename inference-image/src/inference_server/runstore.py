"""A registry of training runs in a directory, for any kind of predictor.

.. code-block:: text

    REGISTRY/runs/RUN/manifest.json ...   artefacts, never changed once they are there
    REGISTRY/latest -> runs/RUN           what a server with INFERENCE_ARTIFACTS=REGISTRY/latest loads
    REGISTRY/history.jsonl                every swap of latest

It is files, so a volume, a mounted bucket that knows links or an image volume will do. ``latest`` is
exchanged by one rename: after a crash it is the old run or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from inference_server.artifacts import MANIFEST_FILE, ArtifactError, Manifest, load_manifest, read_manifest

RUNS: Final = "runs"
LATEST: Final = "latest"
HISTORY: Final = "history.jsonl"
_LOCK: Final = ".lock"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RegistryError(Exception):
    """What was asked of the registry cannot be done; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run as ``list`` shows it; ``problem`` says why its manifest cannot be read."""

    run_id: str
    made_at: str
    latest: bool
    manifest: Manifest | None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """For people and scripts."""
        if self.manifest is None:
            return {"run_id": self.run_id, "latest": self.latest, "problem": self.problem}
        metrics = self.manifest.metrics
        return {
            "run_id": self.run_id,
            "kind": self.manifest.kind,
            "version": self.manifest.version,
            "made_at": self.made_at,
            "latest": self.latest,
            "val_f1_macro": metrics.get("val_f1_macro"),
            "passed_acceptance_gate": metrics.get("passed_acceptance_gate"),
            "artifact_sha256": self.manifest.sha256,
        }


@dataclass(frozen=True, slots=True)
class RunStore:
    """The registry in ``root``, which is made when it is written to."""

    root: Path

    def path(self, run_id: str) -> Path:
        """Return where a run is.

        Raises:
            RegistryError: there is none of that name.
        """
        path = self.root / RUNS / run_id
        if not _NAME.fullmatch(run_id) or not path.is_dir():
            known = ", ".join(run.run_id for run in self.runs()) or "none"
            raise RegistryError(f"{self.root}: expected the name of a run ({known}), but it is {run_id!r}.")
        return path

    def latest(self) -> str | None:
        """Return the run that ``latest`` names."""
        link = self.root / LATEST
        return link.readlink().name if link.is_symlink() else None

    def runs(self) -> list[Run]:
        """Return every run, the newest first."""
        directory = self.root / RUNS
        found: list[tuple[float, Run]] = []
        latest = self.latest()
        for path in sorted(directory.iterdir()) if directory.is_dir() else []:
            if not path.is_dir() or path.name.startswith("."):
                continue
            made = (path / MANIFEST_FILE).stat().st_mtime if (path / MANIFEST_FILE).is_file() else 0.0
            stamp = datetime.fromtimestamp(made, UTC).isoformat(timespec="seconds")
            try:
                run = Run(path.name, stamp, path.name == latest, read_manifest(path))
            except ArtifactError as error:
                run = Run(path.name, stamp, path.name == latest, None, str(error))
            found.append((made, run))
        return [run for _, run in sorted(found, key=lambda pair: -pair[0])]

    def history(self) -> list[dict[str, Any]]:
        """Return every swap, the oldest first."""
        path = self.root / HISTORY
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        records = []
        for line in lines:
            with contextlib.suppress(ValueError):  # the last line may have been cut by a crash
                records.append(json.loads(line))
        return records

    def add(self, directory: Path, run_id: str) -> Path:
        """Move complete artefacts into the registry; equal ones that are there already stay.

        Raises:
            RegistryError: another run of that name is there, or the directory cannot be written.
        """
        with self._locked():
            target = self.root / RUNS / run_id
            if target.exists():
                if read_manifest(target).sha256 != read_manifest(directory).sha256:
                    raise RegistryError(
                        f"{target}: expected no run or an equal one, but another one has this name. "
                        "Was it changed? Run registry verify."
                    )
                return target
            directory.rename(target)
            return target

    def work(self) -> Path:
        """Return a directory on the same file system, where artefacts are made before they are added.

        Raises:
            RegistryError: it cannot be written.
        """
        with self._locked():
            # No process id: two containers that share a volume may have the same.
            return Path(tempfile.mkdtemp(prefix=".work-", dir=self.root / RUNS))

    def swap(self, run_id: str) -> str | None:
        """Let ``latest`` name a run, after all its files were verified; return the run before.

        A swap to the run that ``latest`` names already changes nothing and is not recorded.

        Raises:
            RegistryError: there is no such run, or the directory cannot be written.
            ArtifactError: a file of the run is missing or was changed; ``latest`` stays.
        """
        with self._locked():  # also while it is verified: a prune could delete the run in between
            load_manifest(self.path(run_id))
            before = self.latest()
            if before == run_id:
                return before
            temporary = self.root / f".{LATEST}-{os.getpid()}"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(Path(RUNS) / run_id)
            temporary.replace(self.root / LATEST)
            record = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "from": before, "to": run_id}
            with (self.root / HISTORY).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
        return before

    def prune(self, keep: int) -> list[str]:
        """Delete the oldest runs but ``keep``, never ``latest`` and the run before it; return their names.

        Raises:
            RegistryError: the directory cannot be written.
        """
        with self._locked():
            latest = self.latest()
            before = [
                record.get("from")
                for record in self.history()
                if record.get("to") == latest != record.get("from")
            ]
            spared = {latest, *before[-1:]}
            old = [run.run_id for run in self.runs()[keep:] if run.run_id not in spared]
            for run_id in old:
                shutil.rmtree(self.root / RUNS / run_id)
            return old

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one writer in at a time; problems of the file system become sentences."""
        try:
            (self.root / RUNS).mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RegistryError(
                f"{self.root}: expected a directory that can be written, but {error.strerror or error}. "
                "latest names the same run as before or, if it was exchanged already, the new one."
            ) from error
