"""What the demo says on a machine that lacks something; each time nothing is started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demo import cli, cures, kind, preflight
from demo.docker import Docker
from demo.errors import MachineError
from demo.kind import KindBackend

ROOT = Path(__file__).resolve().parents[2]
Program = Callable[[str, str], None]

DOCKER = """case "$*" in
--version) echo "Docker version 28.2.2, build e6534b4" ;;
version*) echo '{"Components":[{"Name":"Engine"}],"Version":"28.2.2"}' ;;
info*) echo / ;;
*) exit 1 ;;
esac"""
NOT_RUNNING = """[ "$*" = --version ] && { echo "Docker version 28.2.2"; exit; }
echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?" >&2
exit 1"""
NOT_PERMITTED = """[ "$*" = --version ] && { echo "Docker version 28.2.2"; exit; }
echo 'permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: \
connect: permission denied' >&2
exit 1"""
PODMAN = """case "$*" in
--version) echo "podman version 4.3.1" ;;
*) echo '{"APIVersion":"4.3.1"}' ;;
esac"""
PODMANS_SOCKET = """case "$*" in
--version) echo "Docker version 28.2.2, build e6534b4" ;;
*) echo '{"Components":[{"Name":"Podman Engine","Version":"4.3.1"}]}' ;;
esac"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script into a PATH that has nothing else; the user is not root."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 1000)

    def put(name: str, text: str) -> None:
        calls = tmp_path / "calls"
        (directory / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n{text}\n')
        (directory / name).chmod(0o755)

    return put


def good(program: Program) -> None:
    program("docker", DOCKER)
    program("kind", "echo kind v0.33.0 go1.26 linux/amd64")
    program("helm", "echo v4.2.4+g1234567")


def said(capsys: pytest.CaptureFixture[str], code: int = 3) -> str:
    """What `make demo` says when it ends with that code before anything is started."""
    assert cli.main([]) == code
    return " ".join(capsys.readouterr().out.split())


def test_with_docker_kind_and_helm_nothing_else_is_needed(program: Program) -> None:
    good(program)
    assert isinstance(preflight.backend(), KindBackend)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"docker": NOT_RUNNING},
            "the Docker daemon is not running; start it (`sudo systemctl start docker`",
        ),
        (
            {"docker": NOT_PERMITTED},
            "this user may not use Docker's socket; add the user to the group `docker`",
        ),
        (
            {"docker": PODMAN},
            "`docker` is Podman here (podman version 4.3.1), and the demo needs Docker itself",
        ),
        ({"docker": PODMANS_SOCKET}, "unset DOCKER_HOST if it names Podman's socket"),
        ({"docker": None}, "Docker is missing: install Docker Engine or Docker Desktop."),
        ({"docker": None, "podman": "exit 1"}, "Docker Desktop (Podman cannot stand in for it)."),
        (
            {"kind": "echo kind v0.20.0 go1.20.4 linux/amd64"},
            "kind is too old: expected 0.22 or later, this one",
        ),
        ({"kind": "echo unknown"}, "this one says 'unknown'"),
        ({"kind": None}, "kind is missing: install kind 0.22 or later"),
        ({"helm": None}, "Helm is missing: install Helm 3 or later, so that `helm` is in PATH."),
        ({"helm": "echo v2.17.0"}, "Helm is too old: expected 3 or later, this one says 'v2.17.0'"),
    ],
)
def test_what_is_missing_is_a_sentence_with_the_cure_and_nothing_is_started(
    program: Program,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    change: dict[str, str | None],
    sentence: str,
) -> None:
    good(program)
    for name, text in change.items():
        (tmp_path / "bin" / name).unlink(missing_ok=True)
        if text is not None:
            program(name, text)
    assert sentence in said(capsys)
    assert not (tmp_path / "state").exists()
    asked = (tmp_path / "calls").read_text()
    assert "create" not in asked
    assert "build" not in asked
    assert "pull" not in asked


def test_everything_that_is_missing_is_said_at_once(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys)
    for missing in (
        "Docker is missing",
        "kind is missing",
        "Helm is missing",
        "Without Docker the demo runs on",
    ):
        assert missing in text


def test_a_full_disk_is_said_before_anything_is_started(program: Program) -> None:
    good(program)
    assert preflight.room(lambda _: 8 << 30) is None
    problem = preflight.room(lambda _: 1 << 30)
    assert problem is not None
    assert "needs 4 GiB below /, 1.0 GiB are free; `docker system prune`" in problem
    program("docker", DOCKER.replace("echo /", "echo /in/docker/desktop"))
    assert preflight.room() is None, "a disk that cannot be seen from here is not judged"


def test_root_on_debian_without_kind_has_a_cluster_built(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 0)
    monkeypatch.setattr(preflight.sys, "platform", "linux")
    program("apt-get", "exit 1")
    program("docker", NOT_RUNNING)
    assert type(preflight.backend()).__name__ == "BuilderBackend"
    program("kind", "echo kind v0.33.0")
    with pytest.raises(MachineError, match="the Docker daemon is not running"):
        preflight.backend()
    assert type(preflight.backend(build_cluster=True)).__name__ == "BuilderBackend"


def test_a_pull_without_a_network_says_so(program: Program) -> None:
    refusal = "dial tcp: lookup registry.example.invalid: no such host"
    program("docker", f'[ "$1" = pull ] && echo "Error response from daemon: Get ...: {refusal}" >&2; exit 1')
    with pytest.raises(MachineError) as failed:
        KindBackend().bases(Docker())
    assert "Docker could not pull python:3.12-slim: the network does not answer; check" in str(failed.value)
    assert str(failed.value).endswith(refusal)


def test_a_cluster_that_cannot_be_created_is_removed(program: Program, tmp_path: Path) -> None:
    existing = tmp_path / "existing"
    full = "ERROR: failed to create cluster: write /var/lib/docker/x: no space left on device"
    program(
        "kind",
        f"""case "$1 $2" in
'create cluster') echo demo > {existing}; echo '{full}' >&2; exit 1 ;;
'delete cluster') rm {existing} ;;
'get clusters') [ ! -e {existing} ] || echo demo ;;
esac""",
    )
    os.environ["PATH"] += ":/usr/bin:/bin"
    with pytest.raises(MachineError, match=r"kind could not create the cluster demo: the disk is full; free"):
        KindBackend().create("demo")
    assert not existing.exists()
    assert not (kind.state_directory() / "demo").exists()


def test_a_cluster_that_the_demo_did_not_make_is_left_alone(program: Program, tmp_path: Path) -> None:
    program("kind", '[ "$*" = "get clusters" ] && echo demo')
    with pytest.raises(
        MachineError, match=r"a kind cluster demo that the demo did not make\. Remove it by `kind del"
    ):
        KindBackend().create("demo")
    assert KindBackend().delete("demo") is False
    assert "delete" not in (tmp_path / "calls").read_text()


KIND_WITH_DEMO = '[ "$*" != "get clusters" ] || echo demo'


def test_a_cluster_that_runs_is_used_again(program: Program, tmp_path: Path) -> None:
    (kind.state_directory() / "demo").mkdir(parents=True)
    program("kind", KIND_WITH_DEMO)
    program("docker", "echo ok")
    assert KindBackend().create("demo").kubeconfig == kind.state_directory() / "demo" / "kubeconfig"
    calls = (tmp_path / "calls").read_text()
    assert "kind export kubeconfig --name demo" in calls
    assert "create" not in calls


def test_a_cluster_that_does_not_answer_is_made_anew(program: Program, tmp_path: Path) -> None:
    (kind.state_directory() / "demo").mkdir(parents=True)
    program("kind", KIND_WITH_DEMO)
    program("docker", "exit 1")
    KindBackend().create("demo")
    calls = (tmp_path / "calls").read_text()
    assert calls.index("kind delete cluster --name demo") < calls.index("kind create cluster --name demo")


def test_down_where_nothing_was_made_needs_nothing(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--down"]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_down_says_so_while_docker_does_not_answer(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program("docker", NOT_RUNNING)
    program("kind", "echo kind v0.33.0")
    (kind.state_directory() / "demo").mkdir(parents=True)
    assert cli.main(["--down"]) == 3
    assert "the Docker daemon is not running" in capsys.readouterr().out
    assert (kind.state_directory() / "demo").exists()


def test_a_failure_of_no_known_kind_is_told_in_the_programs_own_words() -> None:
    assert cures.sentence("X failed", "something new\n") == "X failed: something new"


def test_without_an_index_the_environment_is_not_left_half_made(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    for name in (
        "Makefile",
        "hack/step",
        "hack/ensure-python",
        "hack/install-locked",
        "operator/requirements.txt",
    ):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
        (copy / name).chmod(0o755)
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_NO_CACHE_DIR": "1"}
    done = subprocess.run(
        ["make", "-s", "demo"],
        cwd=copy,
        env={**os.environ, **nowhere, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert "The package index does not answer: check the network" in done.stderr
    assert not list(copy.glob(".venv-demo/.made-from-*"))


def test_nothing_of_the_cluster_builder_is_loaded_where_docker_and_kind_are() -> None:
    code = "import sys, demo.cli; print([m for m in sys.modules if m.split('.')[0] == 'devcluster'])"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert loaded == "[]\n"


NOT_ON_MACOS = (
    r"sha256sum|readlink -f|sed -i|mktemp -p|date -d|\bmapfile\b|declare -A|\$\{\w+,,|\bnproc\b|/proc/"
)


@pytest.mark.parametrize("script", ["Makefile", "hack/step", "hack/ensure-python"])
def test_what_make_demo_runs_needs_no_gnu_tools_and_no_new_bash(script: str) -> None:
    assert re.findall(NOT_ON_MACOS, (ROOT / script).read_text()) == []
