"""Processes are ended by who they are, never by a number that somebody else may have by now."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster import processes
from devcluster.errors import CommandError, PrerequisiteError
from devcluster.processes import ProcessRecord
from devcluster.statefile import ClusterState

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('deaf', flush=True); time.sleep(60)",
]


def soon_marked(directory: Path) -> list[ProcessRecord]:
    """The marked processes; the kernel shows a new program's environment an instant after it runs."""
    deadline = time.monotonic() + 5
    while not (found := processes.marked(directory)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


@pytest.fixture
def state(tmp_path: Path) -> ClusterState:
    directory = tmp_path / "cluster"
    directory.mkdir()
    return ClusterState(directory)


def test_a_stopped_process_is_gone(state: ClusterState) -> None:
    record = state.spawn("sleeper", list(SLEEP))
    assert record.alive()
    assert processes.stop([record]) == ["sleeper"]
    assert not record.alive()


def test_a_process_that_ignores_the_polite_signal_is_killed(state: ClusterState) -> None:
    record = state.spawn("stubborn", list(STUBBORN))
    deadline = time.monotonic() + 10
    while "deaf" not in state.log("stubborn").read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    began = time.monotonic()
    assert processes.stop([record], grace_seconds=0.2) == ["stubborn"]
    assert not record.alive()
    assert 0.2 <= time.monotonic() - began < 5


def test_a_recycled_pid_is_left_alone(state: ClusterState) -> None:
    bystander = subprocess.Popen(SLEEP)
    try:
        real = ProcessRecord.of(bystander.pid, "etcd")
        assert real is not None
        for stale in (replace(real, start_ticks=real.start_ticks - 1), replace(real, boot="another boot")):
            state.processes = [stale]
            state.save()
            assert ClusterState.load(state.directory).running() == []
            assert processes.stop([stale]) == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_nobody_recorded_is_found_by_its_marker(state: ClusterState) -> None:
    """The tool may be killed between starting a process and writing that down."""
    record = state.spawn("unrecorded", list(SLEEP))
    (state.directory / "state.json").unlink()
    assert [r.pid for r in soon_marked(state.directory)] == [record.pid]
    found = ClusterState.load(state.directory)
    assert found.processes == []
    assert [r.pid for r in found.running()] == [record.pid]
    found.destroy()
    assert not record.alive()
    assert not state.directory.exists()


def test_the_marker_of_a_directory_is_not_that_of_one_with_a_longer_name(tmp_path: Path) -> None:
    for name in ("a", "ab"):
        (tmp_path / name).mkdir()
    other = ClusterState(tmp_path / "ab")
    record = other.spawn("other", list(SLEEP))
    try:
        assert processes.marked(tmp_path / "a") == []
        assert [r.pid for r in soon_marked(tmp_path / "ab")] == [record.pid]
    finally:
        other.destroy()


def test_a_damaged_state_file_still_leads_to_the_processes(state: ClusterState) -> None:
    record = state.spawn("sleeper", list(SLEEP))
    (state.directory / "state.json").write_text('{"processes": [{"pid"')
    ClusterState.load(state.directory).destroy()
    assert not record.alive()


def test_a_cluster_is_orphaned_when_its_owner_is_gone(state: ClusterState) -> None:
    owner = subprocess.Popen(SLEEP)
    state.owner = ProcessRecord.of(owner.pid, "owner")
    state.save()
    assert not ClusterState.load(state.directory).orphaned()
    owner.kill()
    owner.wait()
    assert ClusterState.load(state.directory).orphaned()


def test_a_failed_command_says_what_it_printed() -> None:
    with pytest.raises(CommandError, match=r"ended with code 3: no such thing") as caught:
        processes.run(
            [sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"]
        )
    assert caught.value.returncode == 3


def test_a_command_that_hangs_is_ended() -> None:
    with pytest.raises(CommandError, match="did not end within 0 s"):
        processes.run(SLEEP, timeout=0.2)


def test_a_missing_program_is_a_missing_prerequisite(state: ClusterState) -> None:
    with pytest.raises(PrerequisiteError, match="no-such-program"):
        processes.run(["no-such-program"])
    with pytest.raises(PrerequisiteError, match="no-such-program"):
        state.spawn("x", ["/no-such-program"])
