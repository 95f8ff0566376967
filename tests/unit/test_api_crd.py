"""The generated files are up to date, and the schema is one that an API server takes and people can read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from modelrollout.api import crd, reference
from modelrollout.api.commands import VERBS, Verb
from modelrollout.api.conditions import ConditionType, Phase
from modelrollout.api.presets import Preset
from modelrollout.api.reference_text import CONDITIONS, PHASES

ROOT = Path(__file__).parents[2]
NO_TYPE = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")


def _nodes(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from _nodes(f"{path}.{name}", child)
    if "items" in schema:
        yield from _nodes(f"{path}[]", schema["items"])
    if "additionalProperties" in schema:
        yield from _nodes(f"{path}{{}}", schema["additionalProperties"])


SCHEMA = crd.open_api_schema()
SPEC = list(_nodes("spec", SCHEMA["properties"]["spec"]))
STATUS = list(_nodes("status", SCHEMA["properties"]["status"]))


def test_the_crd_is_what_the_models_say() -> None:
    written = (ROOT / "crds" / "modelrollout.yaml").read_text(encoding="utf-8")
    assert written == crd.render(), "run `make generate`"


def test_the_reference_is_what_the_models_say() -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == reference.render(), "run `make generate`"


def test_the_file_is_one_plain_yaml_document() -> None:
    text = crd.render()
    assert yaml.safe_load(text) == crd.custom_resource_definition()
    assert not re.search(r"(^|\s)[&*]id\d+", text)


def test_every_node_is_structural() -> None:
    for path, node in SPEC + STATUS:
        assert "type" in node or any(node.get(key) for key in NO_TYPE), path
        assert not {"$ref", "$defs", "title", "const", "nullable"} & set(node), path
        assert node.get("additionalProperties") is not False, path


def test_every_field_is_described_in_a_sentence() -> None:
    for path, node in SPEC + STATUS:
        if not path.endswith(("[]", "{}")):
            assert re.match(r"[A-Z0-9].*[.]$", node.get("description", ""), re.DOTALL), (
                f"{path}: {node.get('description')}"
            )


def test_everything_in_spec_is_bounded() -> None:
    """Without bounds the API server assumes the worst and refuses the rules as too costly."""
    for path, node in SPEC:
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, path
        elif node.get("type") == "array":
            assert "maxItems" in node, path
        elif "additionalProperties" in node:
            assert "maxProperties" in node, path
        elif node.get("type") == "integer":
            assert {"minimum", "maximum"} <= set(node), path


def test_a_status_is_never_refused_for_its_size_nor_changed_by_defaults() -> None:
    for path, node in STATUS:
        assert not {"default", "maxLength", "maxItems", "minimum", "maximum", "pattern"} & set(node), path


def test_every_rule_has_a_sentence_for_people_and_a_field_that_exists() -> None:
    found = 0
    for path, node in SPEC:
        for rule in node.get("x-kubernetes-validations", ()):
            found += 1
            assert " " in rule["message"], path
            assert not rule["message"].endswith("."), f"{path}: the API server goes on after it"
            if "fieldPath" in rule:
                assert rule["fieldPath"].removeprefix(".") in node["properties"], path
    assert found > 50


def test_the_resource_serves_status_scale_and_columns() -> None:
    definition = crd.custom_resource_definition()["spec"]
    (version,) = definition["versions"]
    assert version["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    shown = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
    assert shown == ["Phase", "Step", "Weight", "Observed", "Candidate", "Reason", "Age"]
    paths = {path for path, _ in STATUS}
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].removeprefix(".")
        assert path in paths or path == "metadata.creationTimestamp", path
    assert definition["names"]["shortNames"] == ["mro"]
    assert definition["scope"] == "Namespaced"


def test_the_reference_names_every_field_and_every_word() -> None:
    text = reference.render()
    for path, node in SPEC + STATUS:
        if "properties" in node:
            assert f"\n## {path}\n" in text, path
            for name in node["properties"]:
                assert f"\n| `{name}` | " in text, f"{path}.{name}"
    assert set(PHASES) == set(Phase)
    assert set(CONDITIONS) == set(ConditionType)
    assert set(VERBS) == set(Verb)
    for word in (*Phase, *ConditionType, *Verb, *Preset):
        assert f"| `{word}` |" in text, word
