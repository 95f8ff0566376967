"""What only the operator can see: why a rollout that the API server accepted cannot be worked on."""

from __future__ import annotations

from collections.abc import Iterator

from modelrollout.api.conditions import Reason
from modelrollout.api.constants import KIND
from modelrollout.api.features import unsupported
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.kinds import OtherKinds
from modelrollout.cluster.views import ServiceView
from modelrollout.decision import is_rejected, shadow_name
from modelrollout.decision.types import Problem
from modelrollout.operator.reach_checks import ambiguous_names, overlapping_selectors
from modelrollout.operator.rollouts import RolloutState
from modelrollout.operator.store import RolloutStore
from modelrollout.prometheus import PrometheusTargets


class Inspector:
    """Looks for problems in what the caches hold; `look` alone asks the API server."""

    def __init__(
        self, *, store: RolloutStore, cache: ClusterCache, targets: PrometheusTargets, kinds: OtherKinds
    ) -> None:
        self._kinds = kinds
        self._store = store
        self._cache = cache
        self._targets = targets

    async def look(self, rollout: RolloutState) -> None:
        """Look what else has the name of a Deployment that is missing; asks nothing where none is."""
        spec, namespace = rollout.spec, rollout.namespace
        if spec is None:
            return
        named = (rollout.status.stable or (spec.stable.deployment if spec.stable else None),
                 spec.candidate.deployment)  # fmt: skip
        for name in named:
            if name is not None and self._cache.deployments.get(namespace, name) is None:
                await self._kinds.look(namespace, name)

    def _missing(self, namespace: str, name: str, why: str, *, candidate_only: bool = False) -> Problem:
        other = self._kinds.found(namespace, name)
        if other:
            text = (
                f"{why}, {name}, which is a {other} in namespace {namespace}: only Deployments are "
                "supported; run this version as a Deployment, and name that"
            )
        else:
            text = (
                f"{why}, {name}, but namespace {namespace} has no Deployment of that name: create it, or "
                "correct the name"
            )
        return _problem(Reason.DEPLOYMENT_NOT_FOUND, text, candidate_only=candidate_only)

    def problems(self, rollout: RolloutState) -> tuple[Problem, ...]:
        """Everything wrong with it, the most basic first; empty if it can be worked on."""
        spec = rollout.spec
        if spec is None:
            advice = "correct these fields, the API server of this cluster did not check them"
            return (_problem(Reason.INVALID_SPEC, f"{rollout.spec_error}: {advice}"),)
        return (
            *(_problem(Reason.UNSUPPORTED, text, candidate_only=True) for text in unsupported(spec)),
            *self._metrics_problems(rollout, spec),
            *self._service_problems(rollout, spec),
            *self._deployment_problems(rollout, spec),
            *overlapping_selectors(rollout, self._cache),
            *ambiguous_names(rollout, self._cache, self._serving(rollout)),
        )

    def _metrics_problems(self, rollout: RolloutState, spec: ModelRolloutSpec) -> Iterator[Problem]:
        if not spec.criteria:
            return
        try:
            self._targets.get(spec.prometheus.name)
        except LookupError as error:
            yield _problem(Reason.UNKNOWN_PROMETHEUS, str(error), candidate_only=True)
        broken = dict(rollout.queries.problems) if rollout.queries is not None else {}
        for sentence in (broken | (rollout.refused_queries or {})).values():
            yield _problem(Reason.BAD_QUERY, sentence, candidate_only=True)

    def _service_problems(self, rollout: RolloutState, spec: ModelRolloutSpec) -> Iterator[Problem]:
        namespace = rollout.namespace
        service = self._cache.services.get(namespace, spec.service)
        if service is None:
            yield _problem(
                Reason.SERVICE_NOT_FOUND,
                f"spec.service names Service {spec.service}, but namespace {namespace} has none of that "
                "name: "
                "create it, or correct spec.service",
            )
            return
        other = self._store.holder(rollout, "services", spec.service)
        if other is not None:
            yield _problem(
                Reason.SERVICE_CLAIMED,
                f"Service {spec.service} belongs to {KIND} {other}, which is older or has it in use: one "
                f"{KIND} per Service; delete one of the two",
            )
        if not service.selector:
            yield _problem(
                Reason.SERVICE_DOES_NOT_SELECT,
                f"Service {spec.service} has no selector: give it one that selects the pods of every version",
            )
            return
        yield from self._selector_problems(rollout, service)

    def _selector_problems(self, rollout: RolloutState, service: ServiceView) -> Iterator[Problem]:
        """Yield deployments whose pods the Service does not select."""
        namespace = rollout.namespace
        for name in self._serving(rollout):
            deployment = self._cache.deployments.get(namespace, name)
            if deployment is None:
                continue
            labels = deployment.template_labels
            wrong = {key: value for key, value in service.selector.items() if labels.get(key) != value}
            if wrong:
                wanted = ", ".join(f"{key}={value}" for key, value in wrong.items())
                seen = (
                    ", ".join(f"{key}={labels[key]}" for key in wrong if key in labels)
                    or "none of these keys"
                )
                yield _problem(
                    Reason.SERVICE_DOES_NOT_SELECT,
                    f"Service {service.name} selects pods with {wanted}, but those of Deployment {name} "
                    f"have {seen}: "
                    "put into the selector only labels that all versions share, or correct the pod template",
                    candidate_only=not self._is_stable(rollout, name),
                )

    def _deployment_problems(self, rollout: RolloutState, spec: ModelRolloutSpec) -> Iterator[Problem]:
        status, namespace = rollout.status, rollout.namespace
        stable = status.stable or (spec.stable.deployment if spec.stable else None)
        if stable is not None and self._cache.deployments.get(namespace, stable) is None:
            where = "status.stable" if status.stable else "spec.stable.deployment"
            yield self._missing(namespace, stable, f"{where} names the version in charge")
        original = self._cache.deployments.get(namespace, stable) if stable is not None else None
        container = spec.candidate.container
        if original is not None and container is not None and container not in original.containers:
            yield _problem(
                Reason.INVALID_SPEC,
                f"spec.candidate.container is {container}, but Deployment {stable} has the containers "
                f"{', '.join(original.containers)}: name one of them",
                candidate_only=True,
            )
        if stable is None and spec.candidate.is_copy:
            yield _problem(
                Reason.DEPLOYMENT_NOT_FOUND,
                "spec.candidate asks for a copy of stable with another image or environment, but there is "
                "no stable "
                "version yet: name one in spec.stable.deployment, or a Deployment in "
                "spec.candidate.deployment",
            )
        given = spec.candidate.deployment
        wanted = given is not None and given != stable and not self._in_run(rollout, given)
        wanted = wanted and not is_rejected(spec.candidate, status)
        if given is not None and wanted and self._cache.deployments.get(namespace, given) is None:
            yield self._missing(
                namespace, given, "spec.candidate.deployment names the candidate", candidate_only=True
            )
        yield from self._claims(rollout)

    def _claims(self, rollout: RolloutState) -> Iterator[Problem]:
        """Yield deployments that belong to another ModelRollout, or that an autoscaler scales."""
        namespace = rollout.namespace
        for name in self._serving(rollout):
            other = self._store.holder(rollout, "deployments", name)
            if other is not None:
                yield _problem(
                    Reason.DEPLOYMENT_CLAIMED,
                    f"Deployment {name} belongs to {KIND} {other}, which is older or has it in use: one "
                    f"{KIND} per Deployment; delete one of the two, or name another Deployment",
                    candidate_only=not self._is_stable(rollout, name),
                )
            scaler = self._cache.autoscaler(namespace, "Deployment", name)
            if scaler is not None:
                yield _problem(
                    Reason.AUTOSCALER_CONFLICT,
                    f"HorizontalPodAutoscaler {scaler.name} scales Deployment {name}, whose replicas this "
                    f"{KIND} sets: "
                    f"let its scaleTargetRef name {KIND} {rollout.name} instead, which has a scale "
                    "subresource",
                    candidate_only=not self._is_stable(rollout, name),
                )

    @staticmethod
    def _is_stable(rollout: RolloutState, name: str) -> bool:
        spec = rollout.spec
        given = spec.stable.deployment if spec is not None and spec.stable is not None else None
        return name == (rollout.status.stable or given)

    @staticmethod
    def _serving(rollout: RolloutState) -> tuple[str, ...]:
        aside = {rollout.status.previous_stable, shadow_name(rollout.name)} - {rollout.candidate_name}
        return tuple(name for name in rollout.deployments() if name not in aside)

    @staticmethod
    def _in_run(rollout: RolloutState, candidate: str) -> bool:
        run = rollout.status.run
        # One that vanishes in the middle of its run takes the traffic back: that is decided, not refused.
        return run is not None and run.finished_at is None and run.candidate == candidate


def _problem(reason: Reason, message: str, *, candidate_only: bool = False) -> Problem:
    return Problem(reason=str(reason), message=message, candidate_only=candidate_only)
