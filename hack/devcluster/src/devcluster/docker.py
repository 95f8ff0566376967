"""A Docker daemon: the machine's own where one answers, else a private one that leaves no trace.

The private daemon keeps its images in the cache. All else lies below one directory of /run. It writes no
iptables rule and no docker0: builds use the machine's own network, and a cluster's network is a bridge with
published ports served by Docker's own proxy process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import capabilities, cleanup, processes
from devcluster.apt import ensure_program, require_root
from devcluster.errors import CommandError, NotReadyError, PrerequisiteError
from devcluster.locks import exclusive, free, shared
from devcluster.paths import GIB, cache_dir, require_free
from devcluster.processes import ProcessRecord, run, tail
from devcluster.progress import say, step
from devcluster.statefile import ClusterState

_PROBE_SECONDS = 8.0
_PATIENCE_SECONDS = 60.0
_PULL_SECONDS = 900.0
_SYSTEM_CONTAINERD = Path("/run/containerd/containerd.sock")
_NEEDED_BYTES = 6 * GIB


@dataclass(frozen=True)
class Docker:
    """A daemon that answers. `host` is None for the one that the docker command finds by itself."""

    host: str | None
    env: dict[str, str] = field(default_factory=dict)

    @property
    def private(self) -> bool:
        """Whether the tool started this daemon."""
        return self.host is not None

    def run(self, *args: str | Path, timeout: float | None = 120, stdin: bytes | str | None = None) -> str:
        """Run the docker command and return its standard output; CommandError if it fails."""
        return run([client(), *args], timeout=timeout, stdin=stdin, env=self.env)

    def containers(self, *, label: str | None = None) -> list[str]:
        """Return names of all containers, running or not."""
        chosen = ["--filter", f"label={label}"] if label else []
        return self.run("ps", "-a", "--format", "{{.Names}}", *chosen).split()

    def has_image(self, reference: str) -> bool:
        """Tell whether the daemon holds the image."""
        try:
            self.run("image", "inspect", "--format", "{{.Id}}", reference)
        except CommandError:
            return False
        return True

    def image_id(self, reference: str) -> str:
        """Return the image's content digest; CommandError if the daemon does not hold it."""
        return self.run("image", "inspect", "--format", "{{.Id}}", reference).strip()

    def try_pull(self, reference: str, *, silence_seconds: float = 15.0) -> bool:
        """Pull an image if a registry answers within `silence_seconds`; False, quickly, where none does.

        A pull that has begun gets a quarter of an hour: its output has one line for each layer, not for
        each megabyte.
        """
        process = subprocess.Popen(
            [client(), "pull", reference],
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        with process, step(f"pulling {reference}"):
            os.set_blocking(process.stdout.fileno(), False)
            deadline = time.monotonic() + silence_seconds
            while process.poll() is None:
                if process.stdout.read():
                    deadline = time.monotonic() + _PULL_SECONDS
                if time.monotonic() > deadline:
                    process.kill()
                time.sleep(0.05)
        return process.returncode == 0


def client() -> Path:
    """Debian's own docker command where it is installed: it fits the private daemon; else any in PATH."""
    # From Debian 13 on, docker.io is the daemon alone.
    return _DEBIANS if _DEBIANS.exists() else ensure_program("docker", "docker.io", "docker-cli")


_DEBIANS = Path("/usr/bin/docker")


def existing_daemon() -> Docker | None:
    """Return the daemon that answers to a plain `docker` command (honours DOCKER_HOST), or None."""
    if os.environ.get("DOCKER_HOST") == _private().host:
        return None  # `status` told its address, and somebody exported it: it is still the private one
    command = _DEBIANS if _DEBIANS.exists() else "docker"
    try:
        found = run([command, "version", "--format", "{{.Server.Version}}"], timeout=_PROBE_SECONDS).strip()
    except (CommandError, PrerequisiteError):
        return None
    return Docker(host=None) if found else None


def obtain() -> Docker:
    """Return a daemon that answers.

    The private one if it runs, the machine's, else the private one started now.
    """
    return current() or start_private()


def current() -> Docker | None:
    """Return a daemon that answers now, without starting one."""
    return private_if_running() or existing_daemon()


# --- the private daemon
# --------------------------------------------------------------------------------------


def run_dir() -> Path:
    """Return where the private daemon's socket and run-time files are: one for each cache.

    It is gone after a reboot.

    It is short because a socket's path may have no more than 107 characters.
    """
    return Path("/run") / f"devcluster-{hashlib.sha256(str(cache_dir()).encode()).hexdigest()[:8]}"


def data_root() -> Path:
    """Return where the private daemon's images are."""
    return cache_dir() / "docker"


def bridge_name() -> str:
    """Return the name of the private daemon's one bridge (an interface's name has at most 15 characters)."""
    return "br-" + run_dir().name.removeprefix("devcluster-")


def cgroup_parent() -> str:
    """Return the control group of all the private daemon's containers."""
    return "/" + run_dir().name


def _private() -> Docker:
    host = f"unix://{run_dir()}/docker.sock"
    return Docker(host=host, env={"DOCKER_HOST": host, "DOCKER_CONFIG": str(run_dir() / "client")})


@contextlib.contextmanager
def in_use() -> Iterator[None]:
    """Keep other processes from ending an idle private daemon between its start and the first container."""
    with shared(_use_lock()):
        yield


def _use_lock() -> Path:
    return cache_dir() / "locks" / "docker-use.lock"


def private_if_running() -> Docker | None:
    """Return the private daemon if it answers, or None.

    NotReadyError if it runs and does not answer for long.
    """
    docker = _private()
    if _answers(docker, _PROBE_SECONDS):
        return docker
    alive = [record for record in ClusterState.load(run_dir()).running() if record.name == "dockerd"]
    if not alive:
        return None
    # Slow is not dead: on a busy machine, to take it for dead would be to kill its nodes.
    with step("waiting for the private Docker daemon, which does not answer yet"):
        if _answers_in_time(docker, alive[0]):
            return docker
    if not alive[0].alive():
        return None
    raise NotReadyError(
        f"the private Docker daemon (process {alive[0].pid}) runs and did not answer within "
        f"{_PATIENCE_SECONDS:.0f} s; wait until the machine is less busy, or end it by "
        f"`kill -9 {alive[0].pid}` and clean up by `python -m devcluster kind-down`"
    )


def _answers(docker: Docker, seconds: float) -> bool:
    if not (run_dir() / "docker.sock").exists():
        return False
    try:
        docker.run("version", "--format", "{{.Server.Version}}", timeout=seconds)
    except CommandError:
        return False
    return True


def _answers_in_time(docker: Docker, process: ProcessRecord) -> bool:
    """Tell whether it answers within a minute; not once its process has ended."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (left := deadline - time.monotonic()) > 0 and process.alive():
        if _answers(docker, left):
            return True
        time.sleep(0.1)
    return False


def start_private() -> Docker:
    """Return the private daemon, started if it does not answer; needs root."""
    require_root("starting a private Docker daemon")
    dockerd = ensure_program("dockerd", "docker.io")
    ensure_program("iptables", "iptables")
    ensure_program("ip", "iproute2")
    require_free(data_root(), _NEEDED_BYTES, "a private Docker daemon")
    with exclusive(cache_dir() / "locks" / "docker.lock"):
        if running := private_if_running():
            return running
        stop_private()  # what a crash left
        run_dir().mkdir(mode=0o700)
        state = ClusterState(run_dir(), facts=cleanup.remember_machine())
        state.save()
        try:
            with step("starting a private Docker daemon"):
                flags = [*_daemon_flags(), *_own_containerd(state)]
                state.spawn("dockerd", [dockerd, *flags], env={"TMPDIR": "/tmp"})
                docker = _wait_until_it_answers(state)
            _discard_leftovers(docker)
        except BaseException:
            stop_private()
            raise
    return docker


def _daemon_flags() -> list[str]:
    # The machine's own configuration is for the machine's own daemon, and may contradict these flags.
    (run_dir() / "daemon.json").write_text("{}")
    flags = [
        f"--config-file={run_dir()}/daemon.json",
        f"--host=unix://{run_dir()}/docker.sock",
        f"--data-root={data_root()}",
        f"--exec-root={run_dir()}/exec",
        f"--pidfile={run_dir()}/dockerd.pid",
        f"--cgroup-parent={cgroup_parent()}",
        # Where systemd runs, Docker would have it make the groups, and take only names that end in .slice.
        "--exec-opt=native.cgroupdriver=cgroupfs",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-masq=false",
    ]
    if absent := capabilities.missing():
        say(f"root lacks {', '.join(absent)} here; containers are started without")
        wrapper = _write_runtime(absent)
        # The score may only be raised without CAP_SYS_RESOURCE, and Docker lowers its own.
        flags += [f"--add-runtime=reduced={wrapper}", "--default-runtime=reduced", "--oom-score-adjust=0"]
    return flags


def _own_containerd(state: ClusterState) -> list[str]:
    """Return the flags for a containerd of its own, where the machine runs one that dockerd would use."""
    if not _SYSTEM_CONTAINERD.exists():
        return []  # then dockerd starts and ends one by itself
    config, socket = run_dir() / "containerd.toml", run_dir() / "containerd.sock"
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    state.spawn(
        "containerd",
        [
            ensure_program("containerd", "containerd"),
            f"--config={config}",
            f"--address={socket}",
            f"--root={data_root()}/containerd/private",
            f"--state={run_dir()}/containerd",
        ],
    )
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not socket.exists():
        if time.monotonic() > deadline or not state.processes[0].alive():
            raise NotReadyError(
                f"containerd did not listen within {_PATIENCE_SECONDS:.0f} s; the end of its log:\n"
                f"{tail(state.log('containerd'))}"
            )
        time.sleep(0.05)
    return [f"--containerd={socket}"]


def _write_runtime(absent: list[str]) -> Path:
    """Write a runc that does not ask for what it cannot get; return its path.

    --privileged means every capability there is.
    """
    edits = " ".join(f"""-e 's/"{name}",//g' -e 's/,"{name}"//g'""" for name in absent)
    path = run_dir() / "runc-reduced"
    path.write_text(f"""#!/bin/sh
# The bundle (create, run) or the process file (exec) names them; runc fails on one it cannot grant.
before=
for argument; do
  case $before in
    --bundle|-b) sed -i {edits} "$argument/config.json" ;;
    --process|-p) sed -i {edits} "$argument" ;;
  esac
  before=$argument
done
exec {ensure_program("runc", "runc")} "$@"
""")
    path.chmod(0o755)
    return path


def _wait_until_it_answers(state: ClusterState) -> Docker:
    docker = _private()
    if _answers_in_time(docker, state.processes[-1]):
        return docker
    raise NotReadyError(
        f"dockerd did not answer within {_PATIENCE_SECONDS:.0f} s; the end of its log:\n"
        f"{tail(state.log('dockerd'))}"
    )


def _discard_leftovers(docker: Docker) -> None:
    """Containers and networks of a daemon that was killed come back, dead, with its data."""
    if left := docker.containers():
        docker.run("rm", "-f", "-v", *left)
    docker.run("network", "prune", "-f")


def stop_private() -> list[str]:
    """End the private daemon, alive or not, and everything of it but its images. Returns what was running."""
    state = ClusterState.load(run_dir())
    if not state.directory.exists():
        return []
    require_root("stopping the private Docker daemon")
    if _answers(docker := _private(), _PROBE_SECONDS):
        with contextlib.suppress(CommandError):
            _discard_leftovers(docker)
    stopped = processes.stop([r for r in state.running() if r.name == "dockerd"], grace_seconds=15)
    stopped += processes.stop(processes.marked(run_dir()), grace_seconds=1)
    cleanup.kill_control_group(cgroup_parent())
    cleanup.unmount_below(run_dir(), data_root())
    cleanup.delete_interface(bridge_name())
    cleanup.restore_machine(state.facts)
    state.destroy()
    return stopped


@contextlib.contextmanager
def for_a_while() -> Iterator[Docker]:
    """Yield a daemon for a block of work; a private one ends with it unless another process uses it."""
    try:
        with in_use():
            yield obtain()
    finally:
        stop_idle()


def stop_idle() -> None:
    """End the private daemon, or what a crash left of it, unless it has containers or another user."""
    with free(_use_lock()) as nobody_uses_it:
        if nobody_uses_it and ((running := private_if_running()) is None or not running.containers()):
            stop_private()
