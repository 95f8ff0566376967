"""The CustomResourceDefinition, generated from the models.

    python -m modelrollout.api.crd > crds/modelrollout.yaml

Only this module and `reference` know what a structural schema looks like; the operator does not import them.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import yaml

from modelrollout.api.base import ADDED_LATER
from modelrollout.api.constants import (
    CATEGORIES,
    GROUP,
    KIND,
    LIST_KIND,
    PLURAL,
    SHORT_NAME,
    SINGULAR,
    VERSION,
)
from modelrollout.api.manifest import NAME_RULE
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus

HEADER: Final = (
    "# Generated from the models in operator/src/modelrollout/api by `make generate`; do not edit.\n"
)
DESCRIPTION: Final = (
    "ModelRollout replaces one version of a served model by the next: it moves traffic in steps, asks "
    "Prometheus "
    "whether the candidate still behaves, and takes the traffic back by itself when it does not."
)
SPEC_DESCRIPTION: Final = (
    "What is asked for: the versions, the steps, the criteria, and what happens when they fail."
)
STATUS_DESCRIPTION: Final = "What the operator has observed and decided. Only the operator writes it."

_COLUMNS: Final = (
    ("Phase", "string", ".status.phase", "Where the rollout is.", 0),
    ("Step", "string", ".status.step.progress", "Which step of how many.", 0),
    ("Weight", "integer", ".status.weight.desired", "Per cent of the traffic for the candidate.", 0),
    ("Observed", "number", ".status.weight.observed", "Per cent of the endpoints that are its.", 0),
    ("Candidate", "string", ".status.candidate", "Deployment of the candidate.", 0),
    ("Reason", "string", ".status.reason", "Why it is in its phase.", 0),
    ("Stable", "string", ".status.stable", "Deployment in charge.", 1),
    ("Message", "string", ".status.message", "What it waits for.", 1),
    ("Age", "date", ".metadata.creationTimestamp", "", 0),
)  # fmt: skip

_DROPPED: Final = frozenset({"title", "additionalProperties", "$defs"})
_EMPTY: Final[tuple[object, ...]] = (None, [], {}, "")
_STRICT_ONLY: Final = frozenset(
    {
        "default",
        "maxLength",
        "minLength",
        "maxItems",
        "minItems",
        "minimum",
        "maximum",
        "pattern",
        "maxProperties",
    }
)


class _SchemaWriter:
    """Turns the JSON schema of pydantic into a structural schema."""

    def __init__(self, definitions: Mapping[str, Any], *, strict: bool) -> None:
        self._definitions = definitions
        self._strict = strict

    def write(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return the structural form of one schema, references inlined."""
        schema = _told(self._without_null(self._resolved(schema)))
        result: dict[str, Any] = {}
        for key, value in schema.items():
            if key in _STRICT_ONLY and not self._strict:
                continue
            if key == "properties":
                result[key] = {name: self.write(child) for name, child in value.items()}
            elif key == "items" or (key == "additionalProperties" and isinstance(value, Mapping)):
                result[key] = self.write(value)
            elif key == "default":
                result |= {key: _without_empty(value)} if value not in _EMPTY else {}
            elif key in _DROPPED:
                continue
            else:
                result[key] = value
        order = ["description", "type", "default"]
        return {key: result[key] for key in sorted(result, key=lambda key: _rank(order, key))}

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in schema:
            return schema
        definition = self._definitions[schema["$ref"].rsplit("/", 1)[-1]]
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return {**self._resolved(definition), **siblings}

    def _without_null(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        options = schema.get("anyOf")
        if not options or {"type": "null"} not in options:
            return schema
        (only,) = [option for option in options if option != {"type": "null"}]
        siblings = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**self._resolved(only), **siblings}


def _told(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the default of a field that was added later in its description, for the operator to apply."""
    if ADDED_LATER.items() <= schema.items():
        kept = {key: value for key, value in schema.items() if key not in {"default", *ADDED_LATER}}
        return {**kept, "description": f"{schema['description']} By default {schema['default']}."}
    return schema


def _without_empty(default: Any) -> Any:
    """Return a default without the fields that are absent in it."""
    if isinstance(default, Mapping):
        return {name: _without_empty(value) for name, value in default.items() if value not in _EMPTY}
    return [_without_empty(item) for item in default] if isinstance(default, list) else default


def _rank(order: list[str], key: str) -> tuple[int, str]:
    return (order.index(key), "") if key in order else (len(order), "")


def _schema(model: type[ModelRolloutSpec | ModelRolloutStatus], *, strict: bool) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _SchemaWriter(schema.get("$defs", {}), strict=strict).write(schema)


def _condition_keys(status: dict[str, Any]) -> None:
    """Conditions merge by type, as everywhere in Kubernetes."""
    conditions = status["properties"]["conditions"]
    conditions["x-kubernetes-list-type"] = "map"
    conditions["x-kubernetes-list-map-keys"] = ["type"]


def open_api_schema() -> dict[str, Any]:
    """Return the whole object as a structural schema.

    The status has neither bounds (a write of what happened must never be refused) nor defaults (what is read
    back must be what was written).
    """
    spec = _schema(ModelRolloutSpec, strict=True)
    status = _schema(ModelRolloutStatus, strict=False)
    _condition_keys(status)
    return {
        "description": DESCRIPTION,
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [{"rule": NAME_RULE.cel, "message": NAME_RULE.message}],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"Always {KIND}."},
            "metadata": {"type": "object"},
            "spec": {**spec, "description": SPEC_DESCRIPTION},
            "status": {**status, "description": STATUS_DESCRIPTION},
        },
    }


def custom_resource_definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition as the API server reads it."""
    columns = [
        {"name": name, "type": kind, "jsonPath": path}
        | ({"description": text} if text else {})
        | ({"priority": priority} if priority else {})
        for name, kind, path, text, priority in _COLUMNS
    ]
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": open_api_schema()},
    }
    names = {
        "plural": PLURAL,
        "singular": SINGULAR,
        "kind": KIND,
        "listKind": LIST_KIND,
        "shortNames": [SHORT_NAME],
        "categories": list(CATEGORIES),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def render() -> str:
    """Return the text of crds/modelrollout.yaml."""
    # through JSON, so that a schema used twice is written twice and not as an alias
    plain = json.loads(json.dumps(custom_resource_definition()))
    body = yaml.safe_dump(plain, sort_keys=False, width=100, allow_unicode=True)
    return HEADER + body


if __name__ == "__main__":
    sys.stdout.write(render())
