"""`${name}` in a query.

What may be named, what it stands for, and a refusal that helps for everything else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from modelrollout.prometheus.errors import TemplateError

_PLACEHOLDER: Final = re.compile(r"(\$?)\$\{([^{}\"'`]*)(\}?)")
_GENERATED_NAME_LENGTH: Final = 58
"""Kubernetes cuts the pod's generateName to this length and adds five random characters."""
_HASH_LENGTH: Final = 10
"""The longest pod-template-hash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryContext:
    """What the names in a query stand for.

    Attributes:
        namespace: Namespace of the rollout and its pods.
        rollout: Name of the ModelRollout.
        candidate: Deployment whose pods are measured (the shadow copy in the shadow phase).
        stable: Deployment in charge, or None if there is none.
        replica_sets: Names of the ReplicaSets of a Deployment, by its name; one that is missing here is
            measured by what pods of a Deployment of that name are usually called.
    """

    namespace: str
    rollout: str
    candidate: str
    stable: str | None = None
    replica_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def pods_of(self, deployment: str) -> str:
        """Return a regular expression for the names of the Deployment's pods."""
        known = self.replica_sets.get(deployment)
        return replica_set_pods(known) if known else pod_regex(deployment)

    def on_stable(self) -> QueryContext:
        """Return the same questions asked of stable: for `compare: {to: Stable}` and for a baseline."""
        if self.stable is None:
            raise TemplateError("there is no stable version to compare with")
        return replace(self, candidate=self.stable)


def pod_regex(deployment: str) -> str:
    """Return a regular expression (RE2, anchored at both ends by PromQL) for the pods of a Deployment.

    Without a backslash, so that it is the same in every kind of PromQL string. A long name leaves less or
    nothing of the hash: Kubernetes cuts the generated name to 58 characters before it adds the random five.
    """
    name = deployment.replace(".", "[.]")
    if len(deployment) + 1 >= _GENERATED_NAME_LENGTH:
        cut = f"{deployment}-"[:_GENERATED_NAME_LENGTH].replace(".", "[.]")
        return f"{cut}[a-z0-9]{{5}}"
    if len(deployment) + _HASH_LENGTH + 2 > _GENERATED_NAME_LENGTH:
        return f"{name}-[a-z0-9]+-?[a-z0-9]{{5}}"
    return f"{name}-[a-z0-9]+-[a-z0-9]{{5}}"


def replica_set_pods(names: Iterable[str]) -> str:
    """Return the same for the pods of ReplicaSets of these names, and for no others."""
    cut = sorted({f"{name}-"[:_GENERATED_NAME_LENGTH].replace(".", "[.]") for name in names})
    either = cut[0] if len(cut) == 1 else f"({'|'.join(cut)})"
    return f"{either}[a-z0-9]{{5}}"


def quoted(text: str) -> str:
    """`text` as it must stand between double quotes in PromQL."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def variables(context: QueryContext, window: str, args: Mapping[str, str]) -> dict[str, str]:
    """Return every name that a query may use, with its value.

    `stable` and `stablePods` only if there is a stable version.
    """
    names = {
        "candidatePods": context.pods_of(context.candidate),
        "candidate": context.candidate,
        "namespace": context.namespace,
        "rollout": context.rollout,
        "window": window,
    }
    if context.stable is not None:
        names |= {"stablePods": context.pods_of(context.stable), "stable": context.stable}
    return names | {f"args.{name}": quoted(value) for name, value in args.items()}


def render(template: str, names: Mapping[str, str]) -> str:
    """`template` with every `${name}` replaced; `$${name}` stands for a literal `${name}`.

    Raises:
        TemplateError: A name that does not exist, or a `${` without its `}`.
    """

    def value(match: re.Match[str]) -> str:
        escaped, name, closed = match.groups()
        if escaped:
            return match.group(0)[1:]
        if not closed:
            raise TemplateError(f"'${{{name}' in the query is not closed: expected '${{name}}'")
        if name not in names:
            raise TemplateError(_unknown(name, names))
        return names[name]

    return _PLACEHOLDER.sub(value, template)


def _unknown(name: str, names: Mapping[str, str]) -> str:
    known = ", ".join(f"${{{each}}}" for each in sorted(names))
    if name in ("stable", "stablePods"):
        return f"${{{name}}} has no value: the rollout has no stable version yet. Known here: {known}"
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean ${{{near[0]}}}?)" if near else ""
    return f"${{{name}}} is not known in a query{hint}. Known: {known}"
