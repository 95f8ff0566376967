"""A private Docker daemon and somebody else's: who may be ended, who is asked, who is left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devcluster import baseimages, cli, docker, kindcluster
from devcluster.docker import Docker
from devcluster.errors import NotReadyError, PrerequisiteError, UsageError
from devcluster.kindcluster import KindCluster, kind_down
from devcluster.paths import repository_root
from devcluster.statefile import ClusterState


class Daemon(Docker):
    """One with these containers, which records what it is told."""

    def __init__(self, *containers: str, private: bool) -> None:
        super().__init__(host="unix:///nowhere" if private else None)
        object.__setattr__(self, "names", list(containers))
        object.__setattr__(self, "told", [])

    names: list[str]
    told: list[str]

    def containers(self, *, label: str | None = None) -> list[str]:
        return self.names

    def run(self, *args: str | Path, timeout: float | None = 120, stdin: bytes | str | None = None) -> str:
        self.told.append(" ".join(map(str, args)))
        return ""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, own_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run directory, a cache and a state of the test's own."""
    monkeypatch.setenv("MODELROLLOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(docker, "run_dir", lambda: tmp_path / "run")
    monkeypatch.setattr(docker, "existing_daemon", lambda: None)


def known(name: str, **facts: Any) -> ClusterState:
    """A cluster that the tool has made."""
    directory = kindcluster.parent_dir() / name
    directory.mkdir(parents=True)
    state = ClusterState(directory, facts=facts)
    state.save()
    return state


def test_without_root_nothing_of_a_private_daemon_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELROLLOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("devcluster.apt.os.geteuid", lambda: 65534)
    with pytest.raises(PrerequisiteError, match=r"needs root and this is user id 65534; run .* with sudo"):
        docker.start_private()
    assert not docker.run_dir().exists()
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterState:
    """A dockerd that runs and does not answer."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "docker.sock").touch()
    monkeypatch.setattr(docker, "_answers", lambda *_: False)
    monkeypatch.setattr(docker, "_PATIENCE_SECONDS", 1.0)
    state = ClusterState(tmp_path / "run")
    state.spawn("dockerd", ["sleep", "60"])
    return state


def test_a_daemon_that_is_slow_to_answer_is_not_ended(busy: ClusterState) -> None:
    try:
        with pytest.raises(NotReadyError, match=r"runs and did not answer within 1 s; wait .* or end it by"):
            docker.obtain()
        with pytest.raises(NotReadyError):
            docker.stop_idle()
        assert busy.processes[0].alive()
    finally:
        busy.destroy()


def test_a_slow_daemon_gets_time(busy: ClusterState, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(docker, "_answers", lambda _, seconds: asked.append(seconds) or len(asked) > 3)
    try:
        assert docker.obtain().private
    finally:
        busy.destroy()


def test_an_idle_daemon_is_left_to_whoever_is_about_to_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(docker, "private_if_running", lambda: Daemon(private=True))
    monkeypatch.setattr(docker, "stop_private", lambda: ended.append("daemon"))
    code = "from devcluster import docker\nwith docker.in_use(): print(flush=True); input()"
    environment = {"PYTHONPATH": str(repository_root() / "hack" / "devcluster" / "src")}
    environment["MODELROLLOUT_CACHE"] = str(docker.data_root().parent)
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    with other:
        assert other.stdout is not None
        other.stdout.readline()
        with docker.for_a_while():
            pass
        assert ended == []
        other.communicate(b"\n", timeout=30)
    with docker.for_a_while():
        pass
    assert ended == ["daemon"]


def test_the_private_daemon_takes_nothing_from_the_machines_configuration(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    flags = docker._daemon_flags()
    assert f"--config-file={tmp_path}/run/daemon.json" in flags
    assert (tmp_path / "run" / "daemon.json").read_text() == "{}"
    # systemd's own driver refuses a parent that is not NAME.slice
    assert "--exec-opt=native.cgroupdriver=cgroupfs" in flags


def test_an_exported_address_of_the_private_daemon_does_not_make_it_the_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    address = docker._private().host
    assert address is not None
    monkeypatch.setenv("DOCKER_HOST", address)
    monkeypatch.setattr(docker, "run", lambda *_, **__: "20.10")
    assert docker.existing_daemon() is None
    monkeypatch.delenv("DOCKER_HOST")
    assert docker.existing_daemon() == Docker(host=None)


def test_a_cluster_that_somebody_made_with_kind_alone_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Daemon("dev-control-plane", private=False)
    monkeypatch.setattr(docker, "existing_daemon", lambda: theirs)
    assert not kind_down("dev")
    with pytest.raises(UsageError, match="that this tool did not start; remove it by `kind delete cluster"):
        KindCluster.up(name="dev")
    assert theirs.told == []


def test_a_cluster_whose_daemon_is_stopped_is_not_forgotten() -> None:
    state = known("dev", private=False, ready=True)
    with pytest.raises(NotReadyError, match=r"does not answer; start it .* then run this again"):
        kind_down("dev")
    assert state.directory.exists()


def test_a_cluster_is_removed_where_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    state = known("dev", private=True, ready=True)
    own, machines = Daemon("dev-control-plane", private=True), Daemon(private=False)
    monkeypatch.setattr(docker, "private_if_running", lambda: own)
    monkeypatch.setattr(docker, "existing_daemon", lambda: machines)
    assert kind_down("dev")
    assert own.told[0] == "rm -f -v dev-control-plane"
    assert machines.told == []
    assert not state.directory.exists()


def test_a_node_image_that_cannot_be_had_ends_what_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(docker, "start_private", lambda: Daemon(private=True))
    monkeypatch.setattr(docker, "stop_private", lambda: ended.append("daemon"))

    def fail(*_: object, **__: object) -> str:
        raise PrerequisiteError("no image")

    monkeypatch.setattr(kindcluster, "_node_image", fail)
    with pytest.raises(PrerequisiteError, match="no image"):
        KindCluster.up(name="dev")
    assert ended[-1] == "daemon"


def test_a_base_image_that_was_built_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Docker, "has_image", lambda _, name: name.startswith("modelrollout/python-base:"))
    monkeypatch.setattr(Docker, "try_pull", lambda *_: pytest.fail("asked a registry"))
    assert baseimages.python(Daemon(private=True), "python:3.12-slim").startswith("modelrollout/python-base:")


def test_the_cache_is_removed_or_it_is_said_why_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = docker.data_root().parent / "bin" / "x"
    entry.mkdir(parents=True)
    assert cli.main(["clean-cache"]) == 0
    assert not entry.exists()

    def fail(_: object) -> None:
        raise PermissionError(13, "Permission denied", str(entry))

    entry.mkdir(parents=True)
    monkeypatch.setattr("devcluster.cli.shutil.rmtree", fail)
    assert cli.main(["clean-cache"]) == 1
    assert "Permission denied" in capsys.readouterr().err
