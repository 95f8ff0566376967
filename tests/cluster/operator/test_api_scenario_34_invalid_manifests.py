"""Scenario 34: a real API server refuses every invalid manifest, names the field, and takes the rest.

The same files are read offline in tests/unit/test_api_invalid_manifests.py.
"""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelrollout.api.manifest import manifest_problems
from modelrollout.api.spec import ModelRolloutSpec
from tests.support.cluster_tool import Cluster
from tests.support.crd import install

pytestmark = [pytest.mark.takes(seconds=30)]

ROOT = Path(__file__).parents[3]
INVALID = sorted((ROOT / "tests" / "data" / "invalid").glob("*.yaml"))
SAMPLES = sorted((ROOT / "samples").glob("*.yaml"))
GROUP = "/apis/modelrollout.dev/v1alpha1"
GOOD: dict[str, Any] = {
    "apiVersion": "modelrollout.dev/v1alpha1",
    "kind": "ModelRollout",
    "metadata": {"name": "emotion"},
    "spec": {"service": "emotion", "candidate": {"deployment": "emotion-2-4-2"}},
}


@pytest.fixture(scope="module")
def cluster(control_plane: Cluster) -> Iterator[Cluster]:
    """The control plane with the CRD in it."""
    install(control_plane)
    yield control_plane


@pytest.fixture(scope="module")
def where(cluster: Cluster) -> Iterator[str]:
    """The path of the ModelRollouts of a namespace that only this module uses."""
    name = "scenario-34"
    cluster.kubectl("create", "namespace", name)
    yield f"{GROUP}/namespaces/{name}/modelrollouts"
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def _request(
    cluster: Cluster, method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    status, answer = cluster.request(method, path, body)
    return status, json.loads(answer)


def _create(
    cluster: Cluster, where: str, document: dict[str, Any], *, dry_run: bool = True
) -> tuple[int, dict[str, Any]]:
    query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
    return _request(cluster, "POST", where + query, document)


def _headers(text: str) -> dict[str, str]:
    return dict(re.findall(r"^# ([a-z ]+): (.*)$", text, re.MULTILINE))


def test_scenario_34_the_crd_is_accepted_without_a_warning(cluster: Cluster) -> None:
    definition = cluster.get("crd", "modelrollouts.modelrollout.dev")
    conditions = {condition["type"]: condition for condition in definition["status"]["conditions"]}
    assert conditions["Established"]["status"] == "True"
    assert "NonStructuralSchema" not in conditions


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_scenario_34_it_is_refused_with_a_sentence_that_names_the_field(
    cluster: Cluster, where: str, file: Path
) -> None:
    text = file.read_text(encoding="utf-8")
    expected = _headers(text)
    status, answer = _create(cluster, where, yaml.safe_load(text))
    if "server" in expected:  # what a schema cannot see is the operator's and lint's to say
        assert status == 201, answer
        return
    assert status in (400, 422), answer
    assert expected.get("server field", expected["field"]) in answer["message"]
    assert expected.get("server says", expected["says"]) in answer["message"]


def test_scenario_34_a_valid_edit_is_taken_after_a_refused_one(cluster: Cluster, where: str) -> None:
    document = copy.deepcopy(GOOD)
    document["metadata"]["name"] = "edited"
    document["spec"]["steps"] = [{"weight": 20, "duration": "1m"}, {"weight": 20, "duration": "1m"}]
    status, answer = _create(cluster, where, document, dry_run=False)
    assert status == 422, answer
    assert "weights must rise from step to step" in answer["message"]
    document["spec"]["steps"] = [{"weight": 20, "duration": "1m"}, {"weight": 100}]
    status, created = _create(cluster, where, document, dry_run=False)
    assert status == 201, created
    bad = {**created, "spec": {**created["spec"], "replicas": 0}}
    status, answer = _request(cluster, "PUT", f"{where}/edited", bad)
    assert status == 422, answer
    good = {**created, "spec": {**created["spec"], "replicas": 5}}
    status, answer = _request(cluster, "PUT", f"{where}/edited", good)
    assert status == 200, answer
    assert cluster.get("mro", "edited", "-n", "scenario-34")["spec"]["replicas"] == 5


def test_defaults_of_the_server_are_those_of_the_models(cluster: Cluster, where: str) -> None:
    status, created = _create(cluster, where, GOOD)
    assert status == 201, created
    assert created["spec"] != GOOD["spec"]
    assert ModelRolloutSpec.model_validate(created["spec"]) == ModelRolloutSpec.model_validate(GOOD["spec"])


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_every_sample_is_taken_and_means_the_same_on_the_server(
    cluster: Cluster, where: str, file: Path
) -> None:
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        status, created = _create(cluster, where, document)
        assert status == 201, created
        assert ModelRolloutSpec.model_validate(created["spec"]) == ModelRolloutSpec.model_validate(
            document["spec"]
        )


def test_explain_reads_like_documentation(cluster: Cluster) -> None:
    def wrapped(text: str) -> str:
        return " ".join(text.split())

    criteria = wrapped(cluster.kubectl("explain", "mro.spec.criteria"))
    assert "Without any, steps advance by time and readiness alone." in criteria
    assert (
        "How long the value must be outside its limit, without a break, before onBreach is done." in criteria
    )
    assert "enum: Rollback, Pause, Warn" in criteria
    top = wrapped(cluster.kubectl("explain", "mro"))
    assert "takes the traffic back by itself when it does not" in top
    every_field = cluster.kubectl("explain", "mro", "--recursive")
    for field in ("pauseBelow", "samplesQuery", "rolledBackFrom", "lastTransitionTime"):
        assert field in every_field


def test_status_and_scale_are_separate_from_the_spec(cluster: Cluster, where: str) -> None:
    document = copy.deepcopy(GOOD)
    document["metadata"]["name"] = "scaled"
    document["spec"]["replicas"] = 4
    document["status"] = {"phase": "Succeeded"}
    status, created = _create(cluster, where, document, dry_run=False)
    assert status == 201, created
    assert "status" not in created
    created["status"] = {
        "phase": "Progressing",
        "reason": "StepRunning",
        "replicas": 5,
        "selector": "app=emotion",
        "candidate": "emotion-2-4-2",
        "step": {"index": 1, "weight": 20, "progress": "2/5", "startedAt": "2026-01-31T12:00:00.123456Z"},
        "weight": {"desired": 20, "achievable": 20, "observed": 16.7},
    }
    created["spec"]["replicas"] = 9
    status, answer = _request(cluster, "PUT", f"{where}/scaled/status", created)
    assert status == 200, answer
    assert answer["spec"]["replicas"] == 4
    assert answer["status"] == created["status"]
    assert answer["metadata"]["generation"] == 1
    status, scale = _request(cluster, "GET", f"{where}/scaled/scale")
    assert (scale["spec"]["replicas"], scale["status"]) == (4, {"replicas": 5, "selector": "app=emotion"})
    cluster.kubectl("scale", "mro/scaled", "-n", "scenario-34", "--replicas=7")
    scaled = cluster.get("mro", "scaled", "-n", "scenario-34")
    assert scaled["spec"]["replicas"] == 7
    assert scaled["metadata"]["generation"] == 2
    header, row = cluster.kubectl("get", "mro", "scaled", "-n", "scenario-34").splitlines()
    assert header.split() == ["NAME", "PHASE", "STEP", "WEIGHT", "OBSERVED", "CANDIDATE", "REASON", "AGE"]
    assert row.split()[:-1] == ["scaled", "Progressing", "2/5", "20", "16.7", "emotion-2-4-2", "StepRunning"]


# Valid criteria and specs with up to two fields replaced by others, right and wrong; None removes a field.
DURATIONS = st.sampled_from(["0s", "30s", "10m", "1h30m", "7d", "10", "1w", "-1s", "1.5h", 60])
LIMITS = st.sampled_from([None, 0, 0.02, 1, -1, "2%", "200ms", "1Gi", "5 %", "", "1e-3", True, [1], {}])
SHARES = st.sampled_from([0, 1, -1, "0%", "25%", "101%", "x", 0.5])
CRITERIA: list[dict[str, Any]] = [
    {"name": "a", "preset": "errorRate", "max": "1%"},
    {
        "name": "b",
        "preset": "routeShare",
        "args": {"route": "x"},
        "min": 0.9,
        "pauseBelow": 0.95,
        "minSamples": 5,
    },
    {"name": "c", "preset": "contract", "args": {"dimension": "768"}, "max": 0},
    {"name": "d", "preset": "latencyP95", "compare": {"to": "Stable", "maxIncrease": "20%"}},
    {"name": "e", "query": "f(${candidatePods})", "compare": {"to": "Baseline", "maxDecrease": 0.1}},
    {
        "name": "f",
        "query": "f(${window})",
        "samplesQuery": "g",
        "min": 1,
        "minSamples": 5,
        "confidence": 0.95,
    },
]
CRITERION_FIELDS = {
    "name": st.sampled_from(["p95", "P95", "", None]),
    "preset": st.sampled_from(["latencyP95", "contract", "routeShare", "fallbackRate", "x", None]),
    "query": st.sampled_from(["up", "${candidatePods}", "${canary}", "$${x}", "", None]),
    "samplesQuery": st.sampled_from(["up", "${x}", None]),
    "args": st.sampled_from(
        [{"route": "x"}, {"model": "m"}, {"dimension": "1"}, {"x": "x"}, {"model": 1}, {}, None]
    ),
    "min": LIMITS,
    "max": LIMITS,
    "pauseBelow": LIMITS,
    "compare": st.sampled_from(
        [
            {"to": to, **limits}
            for to in ("Stable", "Baseline", "Other")
            for limits in (
                {},
                {"maxIncrease": "20%"},
                {"maxDecrease": -1},
                {"maxIncrease": 0, "maxDecrease": "1s"},
            )
        ]
    ),
    "for": DURATIONS,
    "window": DURATIONS,
    "minSamples": st.sampled_from([0, 1, -1, "1"]),
    "confidence": st.sampled_from([0.95, 0.5, 1, 0.4, "0.9"]),
    "phases": st.sampled_from(
        [["Shadow"], ["Observing"], ["Shadow", "Shadow"], ["Progressing", "Shadow"], [], ["X"]]
    ),
}
SPEC: dict[str, Any] = {
    "service": "emotion",
    "stable": {"deployment": "a"},
    "candidate": {"deployment": "b"},
    "baseline": {},
    "shadow": {"duration": "1h"},
    "observation": {"duration": "1h"},
    "steps": [{"weight": 10, "duration": "1m"}, {"weight": 100}],
}
SPEC_FIELDS = {
    "service": st.sampled_from(["b", "B", "", None, 1]),
    "replicas": st.sampled_from([0, 1, 10_000, 10_001, 1.5, "1"]),
    "stable": st.sampled_from([None, {}, {"deployment": "A"}]),
    "candidate": st.sampled_from(
        [
            {},
            {"image": "b:1"},
            {"deployment": "b", "args": ["x"]},
            {"deployment": "b", "args": []},
            {"deployment": "b", "container": "c"},
            {"env": [{"name": "A", "value": "1"}]},
            {"command": ["x"]},
        ]
    ),
    "steps": st.lists(
        st.fixed_dictionaries(
            {"weight": st.sampled_from([0, 10, 50, 100])},
            optional={"duration": DURATIONS, "approval": st.sampled_from(["Required", "NotRequired"])},
        ),
        max_size=2,
    ).map(lambda steps: [*steps, {"weight": 100}]),
    "capacity": st.fixed_dictionaries({}, optional={"maxSurge": SHARES, "maxUnavailable": SHARES}),
    "rollback": st.fixed_dictionaries(
        {}, optional={"minCapacity": SHARES, "immediate": st.sampled_from([True, 1])}
    ),
    "baseline": st.sampled_from([None, {"window": "0s"}]),
    "shadow": st.sampled_from([None, {}, {"duration": "0h"}]),
    "observation": st.sampled_from(
        [None, {"duration": "1h", "keepStable": "None"}, {"duration": "1h", "scaled": "x"}]
    ),
    "evaluation": DURATIONS.map(lambda interval: {"interval": interval}),
    "traffic": st.sampled_from(
        [{}, {"provider": "HAProxy", "haproxy": {}}, {"haproxy": {}}, {"provider": "GatewayAPI"}]
    ),
    "validations": st.sampled_from(
        [
            [{"name": "v", "image": "i", **more}]
            for more in ({}, {"beforeWeights": [10]}, {"beforeWeights": [11]}, {"ttl": "x"})
        ]
    ),
    "schedule": st.sampled_from(
        [{"windows": [{"from": start, "to": "10:00"}]} for start in ("09:00", "10:00", "24:00")]
    ),
}
LINT_ONLY = (
    "min must not be above max",
    "pauseBelow must be above min",
    "a limit has a unit that the preset does not",
)


def _changed(
    base: st.SearchStrategy[dict[str, Any]], fields: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    one = st.sampled_from(sorted(fields)).flatmap(lambda name: st.tuples(st.just(name), fields[name]))
    merged = st.tuples(base, st.lists(one, max_size=2)).map(lambda parts: {**parts[0], **dict(parts[1])})
    return merged.map(lambda values: {name: value for name, value in values.items() if value is not None})


SPECS = st.tuples(
    _changed(st.just(SPEC), SPEC_FIELDS),
    st.lists(_changed(st.sampled_from(CRITERIA), CRITERION_FIELDS), max_size=2),
).map(lambda parts: {**parts[0], "criteria": parts[1]})


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=300)
@given(spec=SPECS)
def test_server_and_lint_agree_on_random_specs(cluster: Cluster, where: str, spec: dict[str, Any]) -> None:
    document = {**GOOD, "spec": spec}
    status, answer = _create(cluster, where, document)
    problems = manifest_problems(document)
    if any(problem.message.startswith(LINT_ONLY) for problem in problems):
        return  # with a field refused, what contains it is not looked at as a whole
    assert (status == 201) == (not problems), (answer.get("message"), [str(problem) for problem in problems])
