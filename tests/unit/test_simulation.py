"""The quick profile of the simulation: a few hundred seeds, each the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.simulation.apiserver import FOREGROUND, ApiServer, Json, Key, Refusal, labels_match

ROOT = Path(__file__).parents[2]
SEEDS = 80 if os.environ.get("HYPOTHESIS_PROFILE") == "quick" else 300
PARTS = 4
KEY = Key("/apis/apps/v1", "deployments", "n", "a")


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the simulation in a process of its own, whose clocks are virtual."""
    source = f"{ROOT / 'operator/src'}{os.pathsep}{ROOT}"
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": source}
    command = [sys.executable, "-m", "tests.support.simulation", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500, check=False
    )


@pytest.mark.property
@pytest.mark.timeout(0)  # minutes beside the tests on real pods, which have the first claim to the CPU
@pytest.mark.parametrize("part", range(PARTS))
def test_no_seed_violates_an_invariant(part: int) -> None:
    count = SEEDS // PARTS
    done = simulate("--first", str(part * count), "--seeds", str(count), "--jobs", "1")
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"


@pytest.mark.property
@pytest.mark.timeout(0)
def test_a_seed_says_the_same_in_every_process() -> None:
    first, second = simulate("--seed", "194"), simulate("--seed", "194")
    assert len(first.stdout.splitlines()) > 50, first.stderr
    assert first.stdout == second.stdout


def _server(**meta: object) -> tuple[ApiServer, Json]:
    server = ApiServer()
    body = {"metadata": {"name": "a", "labels": {"app": "x"}, **meta}, "spec": {"replicas": 1}}
    return server, server.create(*KEY[:3], body)


def test_a_write_with_an_old_version_is_a_conflict() -> None:
    server, first = _server()
    server.patch(KEY, {"spec": {"replicas": 2}})
    change = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "spec": {"replicas": 3}}
    with pytest.raises(Refusal) as caught:
        server.patch(KEY, change, "scale")
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    with pytest.raises(Refusal) as caught:
        server.patch(KEY, {"metadata": {"uid": "another"}})
    assert caught.value.status == 409


def test_status_and_spec_are_written_apart_and_only_spec_counts_generations() -> None:
    server, first = _server()
    body = {**first, "status": {"replicas": 1}, "spec": {"replicas": 9}}
    after = server.replace(KEY, body, "status")
    assert (after["spec"], after["status"]) == ({"replicas": 1}, {"replicas": 1})
    assert after["metadata"]["generation"] == 1
    after = server.patch(KEY, {"spec": {"replicas": 2}, "status": None})
    assert (after["status"], after["metadata"]["generation"]) == ({"replicas": 1}, 2)


def test_a_write_that_changes_nothing_has_no_new_version() -> None:
    server, first = _server()
    assert server.patch(KEY, {"spec": {"replicas": 1}}) == first


def test_a_finalizer_holds_a_deleted_object() -> None:
    server, _ = _server(finalizers=["f"])
    server.delete(KEY)
    assert server.objects[KEY]["metadata"]["deletionTimestamp"]
    server.patch(KEY, {"metadata": {"finalizers": []}})
    assert KEY not in server.objects
    server, _ = _server()
    server.delete(KEY, {"propagationPolicy": "Foreground"})
    assert server.objects[KEY]["metadata"]["finalizers"] == [FOREGROUND]


def test_a_json_patch_tests_and_sets() -> None:
    server, _ = _server()
    test = {"op": "test", "path": "/spec/replicas", "value": 1}
    change = [test, {"op": "add", "path": "/metadata/annotations/x~1y", "value": "1"}]
    assert server.patch(KEY, change)["metadata"]["annotations"] == {"x/y": "1"}
    with pytest.raises(Refusal):
        server.patch(KEY, [{**test, "value": 2}])


def test_an_earlier_version_can_be_read_again() -> None:
    server, first = _server()
    server.delete(KEY)
    version = int(first["metadata"]["resourceVersion"])
    assert server.at(KEY.group_version, KEY.plural, version) == {KEY: first}
    assert server.at(KEY.group_version, KEY.plural, server.version) == {}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("app=x", True),
        ("app!=x", False),
        ("app in (x, y)", True),
        ("!app", False),
        ("app,b", False),
    ],
)
def test_label_selectors(selector: str, matches: bool) -> None:
    _, obj = _server()
    assert labels_match(obj, selector) is matches
