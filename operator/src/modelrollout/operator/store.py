"""All ModelRollouts that are known, and who claims which Deployment and Service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelrollout.cluster.removals import Removals
from modelrollout.cluster.source import is_older
from modelrollout.operator.rollouts import Claim, Key, RolloutState


class RolloutStore:
    """All ModelRollouts that are known, and an index of what they claim.

    Args:
        changed: Is called for those that are concerned when another one claims something else than before.
        forgotten: Is called for one that is gone.

    Attributes:
        removals: What was removed lately.
    """

    def __init__(self, *, changed: Callable[[Key], None], forgotten: Callable[[RolloutState], None]) -> None:
        self._changed = changed
        self._forgotten = forgotten
        self._rollouts: dict[Key, RolloutState] = {}
        self._claimants: dict[Claim, set[Key]] = {}
        self.removals = Removals()

    def __len__(self) -> int:
        return len(self._rollouts)

    def __iter__(self) -> Iterator[RolloutState]:
        return iter(self._rollouts.values())

    def get(self, key: Key) -> RolloutState | None:
        """Return one rollout, or None."""
        return self._rollouts.get(key)

    def apply(self, obj: Mapping[str, Any]) -> bool:
        """Take in an object from a list or a watch.

        Returns:
            Whether it was news, so that the caller queues it; not the version that is known, an older one,
            or one from before the object was removed: the watch may overtake the answer to a list or a read.
        """
        meta = obj["metadata"]
        key, version = (meta["namespace"], meta["name"]), meta["resourceVersion"]
        known = self._rollouts.get(key)
        last = known.resource_version if known is not None else self.removals.last(key)
        if version == last or is_older(version, last):
            return False
        if known is not None and known.uid != meta["uid"]:
            self.remove(key)
            known = None
        if known is None:
            self._rollouts[key] = RolloutState.of(obj)
        else:
            known.take(obj)
        return True

    def remove(self, key: Key, *, uid: str | None = None, version: str = "") -> None:
        """Forget an object; with `uid` only if it is still that one.

        Args:
            key: Its namespace and name.
            uid: Its uid.
            version: The resourceVersion of the deletion, if it is known. What is not newer is not taken in.
        """
        old = self._rollouts.get(key)
        if old is not None and uid is not None and old.uid != uid:
            return
        self.removals.note(key, version)
        if old is None:
            return
        self.removals.note(key, old.resource_version)
        del self._rollouts[key]
        self._claim(old, frozenset(), frozenset())
        self._forgotten(old)

    def refresh_claims(self, rollout: RolloutState) -> None:
        """Bring the index up to date with what the rollout names now; others that share it are woken."""
        if self._rollouts.get(rollout.key) is not rollout:
            return  # deleted while a tick of it waited: nothing would take its claims away again
        namespace, service = rollout.namespace, rollout.service_name
        claims = {("deployments", namespace, name) for name in rollout.deployments()}
        in_use = {("deployments", namespace, name) for name in rollout.deployments_in_use()}
        if service is not None:
            claims.add(("services", namespace, service))
            if in_use:
                in_use.add(("services", namespace, service))
        self._claim(rollout, frozenset(claims), frozenset(in_use))

    def claimants(self, kind: str, namespace: str, name: str) -> Iterator[RolloutState]:
        """Yield the rollouts that name that Deployment or Service."""
        for key in self._claimants.get((kind, namespace, name), ()):
            yield self._rollouts[key]

    def holder(self, rollout: RolloutState, kind: str, name: str) -> str | None:
        """Return the name of another rollout to which that Deployment or Service belongs; None: to this one.

        It belongs to the rollout that has it in use: in a run under way first, then at rest. Age decides only
        between rollouts of the same rank, so that an edit of an old one cannot stop the run of a newer one.
        """
        claim = (kind, rollout.namespace, name)
        others = [o for o in self.claimants(*claim) if o.uid != rollout.uid]
        first = min(others, key=lambda other: other.rank(claim), default=None)
        return first.name if first is not None and first.rank(claim) < rollout.rank(claim) else None

    def _claim(self, rollout: RolloutState, claims: frozenset[Claim], in_use: frozenset[Claim]) -> None:
        if claims == rollout.claims and in_use == rollout.in_use:
            return
        for claim in rollout.claims - claims:
            held = self._claimants.get(claim, set())
            held.discard(rollout.key)
            if not held:
                self._claimants.pop(claim, None)
        for claim in claims - rollout.claims:
            self._claimants.setdefault(claim, set()).add(rollout.key)
        for claim in (rollout.claims ^ claims) | (rollout.in_use ^ in_use):
            for other in self._claimants.get(claim, ()):
                if other != rollout.key:
                    self._changed(other)
        rollout.claims, rollout.in_use = claims, in_use
