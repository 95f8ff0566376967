"""The parts of the demo that need no cluster: what it reads, what it shows, what it concludes."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import pytest
from rich.console import Console

from demo import cli, discovery, manifests, scenario, view
from demo.console import Narrator
from demo.endpoints import EndpointRecorder, Reading
from demo.errors import DemoError
from demo.snapshot import Snapshot, read_metrics
from demo.wait import until
from modelrollout.api.spec import ModelRolloutSpec

STATUS: dict[str, Any] = {
    "phase": "Progressing",
    "observedGeneration": 2,
    "message": "Step 1 of 5 (10%) waits for criterion errors (NoData: the query yields NaN (as 0/0 gives), "
    "expected one number. Query: sum(a) / (sum(b) > 0)); then for its end.",
    "step": {"progress": "1/5"},
    "stable": "emotion-v1-0",
    "candidate": "emotion-v1-1",
    "weight": {"desired": 10, "observed": 11.11},
    "pods": {"stable": {"ready": 9, "desired": 9}, "candidate": {"ready": 1, "desired": 1}},
    "criteria": [
        {"name": "latency-p95", "state": "Pass", "limit": "at most 2s"},
        {"name": "regex-fallback", "state": "Fail", "limit": "at most 2%"},
    ],
}
LOAD = {"sent": 100, "ok": 97, "failed": 2, "skipped": 1, "latency_ms": {"p95": 12.3}}


def snapshot(**more: Any) -> Snapshot:
    values = {"latency-p95": 0.031, "regex-fallback": 0.6}
    return Snapshot(**{"status": STATUS, "generation": 2, "values": values, "load": LOAD, **more})


def test_requests_never_sent_count_as_lost() -> None:
    assert snapshot().lost == 3


def test_a_status_of_an_older_spec_says_nothing() -> None:
    assert snapshot(generation=3).phase == "Unknown"
    assert snapshot().phase == "Progressing"


def test_the_panel_shows_every_figure() -> None:
    out = io.StringIO()
    Console(file=out, width=110).print(view.panel("Act", "0:42", snapshot()))
    shown = out.getvalue()
    for expected in (
        "1/5",
        "9/9",
        "1/1",
        "31 ms",
        "60.0 %",
        "at most 2%",
        "Fail",
        "10 % wanted",
        "11.11 %",
        "3 lost",
    ):
        assert expected in shown, expected


def test_the_line_for_logs_has_the_same() -> None:
    line = view.line(snapshot())
    assert "lost 3" in line
    assert "regex-fallback 60.0 % Fail" in line


def test_messages_lose_their_queries_and_not_their_end() -> None:
    assert (
        view.message(snapshot()) == "Step 1 of 5 (10%) waits for criterion errors (NoData); then for its end."
    )


def test_the_leader_tells_the_values() -> None:
    value = 'modelrollout_criterion_value{namespace="demo",name="emotion",criterion="errors"} 0.5'
    page = f"modelrollout_leader 1.0\n{value}\n"
    assert read_metrics(page) == (True, {"errors": 0.5})
    assert read_metrics(page.replace("leader 1.0", "leader 0.0"))[0] is False


def pod(name: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "metadata": {"namespace": "demo", "name": name, "annotations": {"prometheus.io/scrape": "true"}},
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    }
    return {key: {**value, **more.get(key, {})} for key, value in found.items()}


def test_discovery_finds_running_annotated_pods_only() -> None:
    pods = [
        pod("b"),
        pod("a"),
        pod("pending", status={"phase": "Pending"}),
        pod("no-address", status={"podIP": ""}),
        pod("plain", metadata={"name": "plain", "annotations": {}}),
    ]
    found = discovery.targets(pods)
    assert [group["labels"]["pod"] for group in found] == ["a", "b"]
    assert found[0] == {"targets": ["10.0.0.1:8080"], "labels": {"namespace": "demo", "pod": "a"}}


def recorder(*readings: tuple[float, dict[str, int]]) -> EndpointRecorder:
    made = EndpointRecorder.__new__(EndpointRecorder)
    made.readings = [Reading(at, Counter(ready)) for at, ready in readings]
    return made


def test_gone_is_when_the_last_endpoint_left_for_good() -> None:
    seen = recorder((1, {}), (2, {"new": 1}), (3, {}), (4, {"new": 1}), (5, {"old": 4}), (6, {"old": 4}))
    assert seen.gone_at("new", after=0) == 5
    assert seen.gone_at("old", after=0) is None
    assert seen.gone_at("other", after=0) is None


def test_waiting_ends_with_what_was_expected_and_seen() -> None:
    with pytest.raises(DemoError) as failed:
        until(
            lambda: None,
            seconds=0.1,
            expected="a pod",
            seen=lambda: "there is none",
            details=lambda: "the log",
        )
    assert str(failed.value) == "expected a pod within 0 s, but there is none"
    assert failed.value.details == "the log"


def test_the_rollout_is_valid_and_every_act_can_be_played() -> None:
    values = scenario.server_values("repo/inference-server:tag", replicas=10)
    base = {"replicas": 10, "service": "emotion", "stable": {"deployment": "emotion-v1-0"}}
    for act in scenario.ACTS:
        assert act.version in values["versions"]
        spec = ModelRolloutSpec.model_validate(
            {**base, **scenario.SPEC, "candidate": {"deployment": act.deployment}}
        )
        assert act.criterion is None or act.criterion in {c.name for c in spec.criteria}
    assert values["image"] == {"repository": "repo/inference-server", "tag": "tag"}


def test_every_pod_of_the_demo_is_restricted() -> None:
    from tests.support.charts import pod_specs, restricted_violations

    objects = [*manifests.prometheus("prometheus:1"), manifests.load("inference-server:1", rate=20)]
    checked = [(name, list(restricted_violations(spec))) for name, spec in pod_specs(objects)]
    assert checked == [("Deployment/prometheus", []), ("Pod/load", [])]


@pytest.mark.parametrize(
    "arguments",
    [["--replicas", "3"], ["--rate", "1000"], ["--image", "operator"], ["--image", "other=a:b"], ["--up"]],
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.main(arguments)
    assert refused.value.code == 2


def test_a_failed_step_is_told_with_its_time() -> None:
    out = io.StringIO()
    narrator = Narrator(Console(file=out, width=120))
    with pytest.raises(DemoError), narrator.step("Something"):
        raise DemoError(expected="a", seen="b")
    assert "✗ Something (after 0 s)" in out.getvalue()
