"""Copies of stable: what is in them, whose they are, and when a pod template is another version."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from modelrollout.api.workload import Candidate
from modelrollout.cluster import resources
from modelrollout.cluster.errors import ConflictError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.leader_election import Leadership
from modelrollout.cluster.templates import template_hash
from modelrollout.cluster.workloads.candidate import CopyError, CopyKeeper, CopyOrder, build_copy
from modelrollout.cluster.workloads.shadow import Shadow, build_shadow
from modelrollout.cluster.writer import RolloutRef
from tests.support import manifests
from tests.support.fake_kube import FakeKube

OWNER = RolloutRef(namespace="ns", name="emotion", uid="u1", resource_version="1")
STABLE = resources.deployment("ns", "emotion-1")
NAME = "emotion-12345678"
COPY = resources.deployment("ns", NAME)


def ordered(**candidate: Any) -> CopyOrder:
    parsed = Candidate.model_validate(candidate or {"image": "model:2"})
    return CopyOrder(name=NAME, stable="emotion-1", template=None, candidate=parsed, owner=OWNER)


def copied(stable: dict[str, Any] | None = None, **candidate: Any) -> dict[str, Any]:
    return build_copy(stable or manifests.deployment("emotion-1", replicas=4), ordered(**candidate))


class Setup:
    """Stable in the fake API server, and what makes copies of it."""

    def __init__(self) -> None:
        self.api: Any = FakeKube()
        self.api.put(STABLE, manifests.deployment("emotion-1", replicas=4, namespace="ns"))
        self.keeper = CopyKeeper(FencedApi(self.api, Leadership.always()))


# -- the copy ---------------------------------------------------------------------------------------------


def test_a_copy_differs_from_stable_only_in_what_was_asked_and_in_its_labels() -> None:
    stable = manifests.deployment("emotion-1", replicas=4, env={"A": "1", "B": "1"})
    stable["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "3", "team": "ml"}
    made = copied(stable, image="model:2", env=[{"name": "A", "value": "2"}])
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "model:2"
    assert container["env"] == [{"name": "A", "value": "2"}, {"name": "B", "value": "1"}]
    assert made["spec"]["replicas"] == 0
    assert made["metadata"]["annotations"] == {"team": "ml", "modelrollout.dev/rollout-uid": "u1"}
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert made["spec"]["selector"] != stable["spec"]["selector"]
    assert labels["app"] == "emotion"


def test_what_serves_has_no_owner_that_could_take_it_away() -> None:
    assert "ownerReferences" not in copied()["metadata"]


def test_a_copy_carries_no_mark_by_which_another_tool_would_prune_it() -> None:
    stable = manifests.deployment("emotion-1")
    tracking = {
        "app.kubernetes.io/instance": "models",
        "app.kubernetes.io/managed-by": "Helm",
        "argocd.argoproj.io/instance": "models",
        "helm.sh/chart": "model-1.2",
        "helm.toolkit.fluxcd.io/name": "models",
        "kustomize.toolkit.fluxcd.io/name": "models",
        "applyset.kubernetes.io/part-of": "x",
    }
    stable["metadata"]["labels"] = {**tracking, "team": "ml"}
    stable["metadata"]["annotations"] = {
        "argocd.argoproj.io/tracking-id": "models:apps/Deployment:ns/emotion-1",
        "meta.helm.sh/release-name": "models",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "deployment.kubernetes.io/revision": "4",
        "owner": "ml",
    }
    pod_labels = stable["spec"]["template"]["metadata"]["labels"]
    pod_labels |= {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "models"}
    stable["spec"]["selector"]["matchLabels"] |= {"app.kubernetes.io/managed-by": "Helm"}
    made = copied(stable)
    assert set(made["metadata"]["labels"]) == {
        "team", "app.kubernetes.io/managed-by", "modelrollout.dev/rollout", "modelrollout.dev/version",
    }  # fmt: skip
    assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "modelrollout"
    assert set(made["metadata"]["annotations"]) == {"owner", "modelrollout.dev/rollout-uid"}
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= pod_labels.items(), "the clients' Service may select pods by them"


def test_a_copy_of_a_paused_deployment_is_not_paused() -> None:
    stable = manifests.deployment("emotion-1")
    stable["spec"]["paused"] = True
    assert "paused" not in copied(stable)["spec"]
    shadow = Shadow(deployment="emotion-shadow", source="emotion-1", replicas=1, version="v")
    made = build_shadow(stable, shadow=shadow, service_selector={"app": "emotion"}, owner=OWNER)
    assert "paused" not in made["spec"]


def test_a_copy_of_a_copy_selects_its_own_pods_only() -> None:
    first = copied(image="model:2")
    second = copied(first, image="model:3")
    wanted = second["spec"]["selector"]["matchLabels"].items()
    assert not wanted <= first["spec"]["template"]["metadata"]["labels"].items()


def test_an_unknown_container_is_named_with_those_there_are() -> None:
    with pytest.raises(CopyError, match=r"nobody.*server"):
        copied(image="model:2", container="nobody")


# -- making and deleting it -------------------------------------------------------------------------------


async def test_making_a_copy_twice_makes_one() -> None:
    setup = Setup()
    for _ in range(2):
        await setup.keeper.create(ordered())
    assert set(setup.api.objects) == {STABLE, COPY}


async def test_stable_is_copied_only_as_it_was_decided_on() -> None:
    setup = Setup()
    order = ordered()
    stale = CopyOrder(
        name=NAME, stable="emotion-1", template="another", candidate=order.candidate, owner=OWNER
    )
    with pytest.raises(ConflictError):
        await setup.keeper.create(stale)
    assert set(setup.api.objects) == {STABLE}


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {}},
        {"annotations": {"modelrollout.dev/rollout-uid": "of another rollout"}},
    ],
)
async def test_somebody_elses_deployment_of_that_name_is_neither_used_nor_deleted(
    change: dict[str, Any],
) -> None:
    setup = Setup()
    await setup.keeper.create(ordered())
    setup.api.objects[COPY]["metadata"] |= change
    with pytest.raises(CopyError, match="was not made for"):
        await setup.keeper.create(ordered())
    await setup.keeper.delete(NAME, owner=OWNER)
    assert COPY in setup.api.objects


async def test_a_copy_that_is_not_needed_is_deleted_once() -> None:
    setup = Setup()
    await setup.keeper.create(ordered())
    uid = setup.api.objects[COPY]["metadata"]["uid"]
    for _ in range(2):
        await setup.keeper.delete(NAME, owner=OWNER)
    assert set(setup.api.objects) == {STABLE}
    deletions = [body for method, _, body in setup.api.requests if method == "DELETE"]
    assert [body["preconditions"] for body in deletions] == [{"uid": uid}]


async def test_a_copy_of_an_older_operator_loses_its_owner_and_keeps_others() -> None:
    setup = Setup()
    setup.api.objects[STABLE]["metadata"]["ownerReferences"] = [{"uid": "u1"}, {"uid": "u2"}]
    for _ in range(2):
        await setup.keeper.release("ns", "emotion-1", owner_uid="u1")
    assert setup.api.objects[STABLE]["metadata"]["ownerReferences"] == [{"uid": "u2"}]
    assert len([method for method, _ in setup.api.writes() if method == "PATCH"]) == 1


# -- when a template is another version -------------------------------------------------------------------


def template(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = manifests.deployment("emotion-1", env={"A": "1"})["spec"]["template"]
    made["spec"]["containers"][0]["resources"] = {"limits": {"memory": "1Gi", "cpu": "500m"}}
    made["spec"] |= changes
    return made


def test_what_a_deployment_makes_no_new_revision_for_is_the_same_version() -> None:
    wanted = template_hash(template())
    hashed = template()
    hashed["metadata"]["labels"]["pod-template-hash"] = "5d8f7c9b44"
    hashed["metadata"]["creationTimestamp"] = None
    assert template_hash(hashed) == wanted
    assert template_hash(dict(reversed(template().items()))) == wanted
    assert template_hash(template(nodeName=None)) == wanted
    amounts = template()
    amounts["spec"]["containers"][0]["resources"] = {"limits": {"memory": "1073741824", "cpu": "0.5"}}
    assert template_hash(amounts) == wanted


@pytest.mark.parametrize(
    "path",
    [
        ("metadata", "labels", "extra"),
        ("metadata", "annotations", "kubectl.kubernetes.io/restartedAt"),
        ("spec", "containers", 0, "image"),
        ("spec", "containers", 0, "env", 0, "value"),
        ("spec", "containers", 0, "resources", "limits", "memory"),
        ("spec", "terminationGracePeriodSeconds"),
    ],
)
def test_what_a_deployment_makes_a_new_revision_for_is_another_version(path: tuple[Any, ...]) -> None:
    changed = deepcopy(template())
    target: Any = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = "7"
    assert template_hash(changed) != template_hash(template())
