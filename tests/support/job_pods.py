"""What the pods of validation Jobs play on fake nodes, which know it only from annotations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.world import World

EXIT_CODE = "kwok.modelrollout.dev/exit-code"
RUN_FOR = "kwok.modelrollout.dev/run-for"
IMAGE_ERROR = "kwok.modelrollout.dev/image-error"

GROUP = "/apis/admissionregistration.k8s.io/v1"
POLICIES = f"{GROUP}/mutatingadmissionpolicies"
BINDINGS = f"{GROUP}/mutatingadmissionpolicybindings"
ROLE = {"modelrollout.dev/role": "validation"}


@contextmanager
def annotated(world: World, **annotations: str) -> Iterator[None]:
    """Every pod of a validation in the namespace gets these annotations (`EXIT_CODE`, ... as keys).

    The operator writes the Jobs, so an admission policy of the cluster puts them on; it is taken away again.
    """
    name = f"validations-{world.namespace}"
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    policy = {**kind, "kind": "MutatingAdmissionPolicy", "spec": _policy(world.namespace, annotations)}
    binding = {**kind, "kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": name}}
    for path, body in ((POLICIES, policy), (BINDINGS, binding)):
        status, answer = world.call("POST", path, body)
        assert status == 201, answer
    try:
        world.until(lambda: _trial(world) == annotations, what="the policy is in force")
        yield
    finally:
        for path in (BINDINGS, POLICIES):
            world.call("DELETE", f"{path}/{name}")
        world.until(lambda: not _trial(world), what="the policy is out of force")


def _policy(namespace: str, annotations: dict[str, str]) -> dict[str, Any]:
    pairs = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in annotations.items())
    expression = "Object{metadata: Object.metadata{annotations: {" + pairs + "}}}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return {
        "matchConstraints": {
            "resourceRules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "objectSelector": {"matchLabels": ROLE},
        },
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }


def _trial(world: World) -> dict[str, str]:
    """The annotations that a pod of a validation would have now; none is made."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", "labels": ROLE},
        "spec": {"containers": [{"name": "trial", "image": "registry.invalid/trial:1"}]},
    }
    status, answer = world.call("POST", f"{world.path('Pod')}?dryRun=All", pod)
    assert status in {201, 403}, answer  # 403: the namespace's default ServiceAccount is still to come
    return dict(answer["metadata"].get("annotations") or {}) if status == 201 else {}
