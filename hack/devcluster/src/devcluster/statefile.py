"""The record of one running cluster in its state directory, written before anything can go wrong after it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from devcluster import processes
from devcluster.processes import ProcessRecord

_FILE = "state.json"


@dataclass
class ClusterState:
    """`owner` is the process that the cluster must not outlive, or None for one that lasts until `down`."""

    directory: Path
    owner: ProcessRecord | None = None
    processes: list[ProcessRecord] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The cluster's name: that of its directory."""
        return self.directory.name

    def save(self) -> None:
        """Write the file so that a reader sees the old or the new content, never half of one."""
        content = {
            "owner": asdict(self.owner) if self.owner else None,
            "processes": [asdict(record) for record in self.processes],
            "facts": self.facts,
        }
        scratch = self.directory / f".{_FILE}.{os.getpid()}"
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(content, indent=1))
        scratch.rename(self.directory / _FILE)

    @classmethod
    def load(cls, directory: Path) -> ClusterState:
        """Read the record.

        A missing or damaged file gives an empty one (the processes are found by their marker).
        """
        state = cls(directory)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads((directory / _FILE).read_text())
            state.owner = ProcessRecord(**content["owner"]) if content["owner"] else None
            state.processes = [ProcessRecord(**record) for record in content["processes"]]
            state.facts = dict(content["facts"])
        return state

    def spawn(self, name: str, argv: list[str | Path], env: dict[str, str] | None = None) -> ProcessRecord:
        """Start a process of this cluster and record it; its log is logs/NAME.log below the directory."""
        record = processes.spawn(name, argv, owner=self.directory, log=self.log(name), env=env or {})
        self.processes.append(record)
        self.save()
        return record

    def log(self, name: str) -> Path:
        """Return the log file of one of the cluster's processes."""
        return self.directory / "logs" / f"{name}.log"

    def running(self) -> list[ProcessRecord]:
        """Return the cluster's processes that are alive, recorded or found by their marker."""
        known = {(r.pid, r.start_ticks): r for r in self.processes if r.alive()}
        for record in processes.marked(self.directory):
            known.setdefault((record.pid, record.start_ticks), record)
        return list(known.values())

    def orphaned(self) -> bool:
        """Tell whether the process that owned this cluster is gone."""
        return self.owner is not None and not self.owner.alive()

    def destroy(self, *, grace_seconds: float = 5.0) -> list[str]:
        """End every process and remove the directory; return the names of what was still running."""
        stopped = processes.stop(self.running(), grace_seconds=grace_seconds)
        # One that was being started meanwhile, by a child that had not yet ended.
        stopped += processes.stop(processes.marked(self.directory), grace_seconds=1.0)
        shutil.rmtree(self.directory, ignore_errors=True)
        return stopped


def all_states(parent: Path) -> list[ClusterState]:
    """Return the records of every cluster below `parent`."""
    if not parent.is_dir():
        return []
    return [ClusterState.load(entry) for entry in sorted(parent.iterdir()) if entry.is_dir()]
