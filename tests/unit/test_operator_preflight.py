"""What is said of a Deployment that is missing: above all what has its name instead."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from modelrollout.api.status import RolledBackCandidate
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.errors import ForbiddenError
from modelrollout.cluster.kinds import OtherKinds
from modelrollout.cluster.views import parse_deployment, parse_service
from modelrollout.decision import fingerprint
from modelrollout.operator.preflight import Inspector
from modelrollout.operator.store import RolloutStore
from modelrollout.prometheus import PrometheusTargets
from tests.support import manifests
from tests.support.fake_kube import FakeKube
from tests.unit.test_operator_rollouts import stored


class Setup:
    """A rollout to `emotion-2`, whose Deployment is missing; stable and the Service are there."""

    def __init__(self) -> None:
        self.api: Any = FakeKube()
        self.cache = ClusterCache(self.api, namespaces=(None,), listener=lambda *_: None)
        store = RolloutStore(changed=lambda _: None, forgotten=lambda _: None)
        store.apply(stored())
        found = store.get(("ns", "emotion"))
        assert found is not None
        self.rollout = found
        self.inspector = Inspector(
            store=store,
            cache=self.cache,
            targets=PrometheusTargets.single("http://p"),
            kinds=OtherKinds(self.api),
        )
        service = self.api.put(resources.service("ns", "emotion"), manifests.service(namespace="ns"))
        self.cache.services.put(parse_service(service))
        self.add("emotion-1")

    def add(self, name: str) -> None:
        made = self.api.put(resources.deployment("ns", name), manifests.deployment(name, namespace="ns"))
        self.cache.deployments.put(parse_deployment(made))

    async def said(self) -> str:
        await self.inspector.look(self.rollout)
        return " ".join(problem.message for problem in self.inspector.problems(self.rollout))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (f"{resources.collection(resources.APPS, 'statefulsets', 'ns')}/emotion-2", "StatefulSet"),
        (f"{resources.collection(resources.APPS, 'daemonsets', 'ns')}/emotion-2", "DaemonSet"),
        (f"{resources.collection(resources.APPS, 'replicasets', 'ns')}/emotion-2", "ReplicaSet"),
        ("/apis/argoproj.io/v1alpha1/namespaces/ns/rollouts/emotion-2", "Rollout (of Argo Rollouts)"),
    ],
)
async def test_another_kind_of_that_name_is_said_and_not_to_be_created(path: str, kind: str) -> None:
    setup = Setup()
    setup.api.put(path, {"metadata": {}})
    said = await setup.said()
    assert f"emotion-2, which is a {kind} in namespace ns: only Deployments are supported" in said
    assert "create it" not in said


async def test_a_name_that_nothing_has_is_to_be_created() -> None:
    assert "has no Deployment of that name: create it" in await Setup().said()


async def test_without_the_right_to_look_the_message_is_the_usual_one() -> None:
    setup = Setup()
    setup.api.failures += [ForbiddenError(403, "Forbidden", "no")] * 4
    assert "has no Deployment of that name" in await setup.said()


async def test_nothing_is_asked_where_nothing_is_missing_nor_twice_in_a_moment() -> None:
    setup = Setup()
    await setup.said()
    asked = len(setup.api.requests)
    await setup.said()
    assert len(setup.api.requests) == asked
    other = Setup()
    other.add("emotion-2")
    assert await other.said() == ""
    assert other.api.requests == []


@pytest.mark.parametrize(("same", "said"), [(True, False), (False, True)])
async def test_the_deployment_of_a_candidate_that_was_rolled_back_is_not_needed(
    same: bool, said: bool
) -> None:
    setup = Setup()
    spec = setup.rollout.spec
    assert spec is not None
    rejected = RolledBackCandidate(
        fingerprint=fingerprint(spec.candidate) if same else "another",
        candidate="emotion-2",
        at=datetime(2026, 1, 5, 9, 0, tzinfo=UTC),
    )
    changed = {"stable": "emotion-1", "rolled_back_from": rejected}
    setup.rollout.set_status(setup.rollout.status.model_copy(update=changed), "2")
    assert ("names the candidate, emotion-2" in await setup.said()) is said
