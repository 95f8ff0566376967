"""A control plane without nodes.

Etcd, kube-apiserver, controller manager, and on demand scheduler and fake nodes.
"""

from __future__ import annotations

import os
import secrets
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from devcluster import processes, tools
from devcluster.cluster import Cluster, checked_name
from devcluster.components import Starter
from devcluster.errors import UsageError
from devcluster.locks import exclusive
from devcluster.paths import GIB, require_free, state_dir
from devcluster.ports import require_free as require_free_port
from devcluster.processes import ProcessRecord
from devcluster.progress import step
from devcluster.statefile import ClusterState, all_states


def parent_dir() -> Path:
    """Return the directory that holds one directory for each control plane."""
    return state_dir() / "control-planes"


@dataclass(frozen=True, kw_only=True)
class ControlPlane(Cluster):
    """A running control plane; leaving its `with` block removes every trace of it."""

    directory: Path

    @classmethod
    def start(
        cls,
        *,
        name: str | None = None,
        scheduler: bool = False,
        kwok_nodes: int = 0,
        port: int | None = None,
        lasting: bool = False,
    ) -> Self:
        """Start one and wait until it serves (about three seconds once its program is built).

        `kwok_nodes` fake nodes imply the scheduler. `port` is the API server's, else any free one. A
        `lasting` one stays until `down`; any other is removed, at the latest by the next start, once this
        process is gone.
        """
        collect_orphans()
        if not 0 <= kwok_nodes <= 252:
            raise UsageError(f"the number of kwok nodes must be from 0 to 252, got {kwok_nodes}")
        chosen = checked_name(name or f"cp-{os.getpid()}-{secrets.token_hex(3)}")
        tools.component("kube-apiserver")  # may take minutes: before anything is started
        if kwok_nodes:
            tools.kwok()
        if port is not None:
            require_free_port(port, "the API server")
        require_free(state_dir(), GIB // 2, "a control plane")
        lock = state_dir() / "locks" / f"control-plane-{chosen}.lock"
        with exclusive(lock) if name else nullcontext():  # a name made up here is nobody else's
            state = _claim(chosen, lasting)
            try:
                with step(f"starting the control plane {chosen}"):
                    Starter(state, port).run(scheduler=scheduler or kwok_nodes > 0, kwok_nodes=kwok_nodes)
            except BaseException:
                state.destroy(grace_seconds=0.3)
                raise
        return cls(name=chosen, kubeconfig=state.directory / "kubeconfig", directory=state.directory)

    @classmethod
    def attach(cls, name: str) -> Self | None:
        """Return the running control plane of that name, or None."""
        state = ClusterState.load(parent_dir() / checked_name(name))
        kubeconfig = state.directory / "kubeconfig"
        alive = {record.name for record in state.running()}
        if not state.facts.get("ready") or not set(state.facts["components"]) <= alive:
            return None
        return cls(name=name, kubeconfig=kubeconfig, directory=state.directory)

    @property
    def ca_file(self) -> Path:
        """The certificate that the server's is verified with."""
        return self.directory / "pki" / "ca.crt"

    def log(self, component: str) -> Path:
        """Return the log of a component: `etcd`, `kube-apiserver`, `kube-scheduler`, `kwok` and so on."""
        return ClusterState(self.directory).log(component)

    def restart(self, component: str, *more: str) -> None:
        """Kill one of its processes and start it again with the same arguments and these.

        Waits for the API server.
        """
        state = ClusterState.load(self.directory)
        old = next((record for record in state.running() if record.name == component), None)
        if old is None:
            raise UsageError(f"no {component} of the control plane {self.name} is running")
        arguments = Path(f"/proc/{old.pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        processes.stop([old], grace_seconds=0.0)
        state.processes.remove(old)
        state.spawn(component, [*arguments, *more])
        self.wait_for_api()

    def stop(self) -> list[str]:
        """End its processes and remove its directory; return the names of what ran.

        Harmless when repeated.
        """
        # Nothing of it is kept, so nothing needs the time that an orderly shutdown of the API server takes.
        return ClusterState.load(self.directory).destroy(grace_seconds=0.3)

    def __enter__(self) -> Self:
        """Nothing more to do: it was started."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


def collect_orphans() -> list[str]:
    """Remove the control planes whose owner died without removing them; return their names."""
    removed = []
    for state in all_states(parent_dir()):
        if state.orphaned():
            state.destroy(grace_seconds=0.3)
            removed.append(state.name)
    return removed


def _claim(name: str, lasting: bool) -> ClusterState:
    """Make the state directory, after clearing what a crash left in it; UsageError if it is in use."""
    directory = parent_dir() / name
    old = ClusterState.load(directory)
    if directory.exists():
        if old.running() and (old.owner is None or old.owner.alive()) and old.facts.get("ready"):
            raise UsageError(
                f"a control plane named {name} is already running; use it "
                f"(KUBECONFIG={directory}/kubeconfig), "
                f"or end it by `python -m devcluster down --name {name}`"
            )
        old.destroy(grace_seconds=0.3)
    directory.mkdir(parents=True, mode=0o700)
    state = ClusterState(directory, owner=None if lasting else ProcessRecord.of(os.getpid(), "owner"))
    state.save()
    return state
