"""docs/reference.md, generated from the schema.

python -m modelrollout.api.reference > docs/reference.md
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from modelrollout.api import constants
from modelrollout.api.base import Rule
from modelrollout.api.commands import VERBS
from modelrollout.api.conditions import Reason
from modelrollout.api.crd import open_api_schema
from modelrollout.api.criterion_rules import CRITERION_RULES
from modelrollout.api.durations import DURATION_PATTERN, UNSIGNED_QUANTITY_PATTERN
from modelrollout.api.features import MISSING
from modelrollout.api.presets import PRESETS
from modelrollout.api.reference_text import CONDITIONS, INTRODUCTION, PHASES, UNITS
from modelrollout.api.schedule import Schedule

Schema = Mapping[str, Any]

_LINT_ONLY: Final[Mapping[str, tuple[Rule, ...]]] = {
    "spec.criteria[]": tuple(rule for rule in CRITERION_RULES if rule.cel is None),
    "spec.schedule": tuple(rule for rule in Schedule.rules if rule.cel is None),
}
_SAID_BY_SCHEMA: Final[Mapping[str, str]] = {
    "spec.criteria[].compare": "at least one of maxIncrease and maxDecrease must be given"
}
_LABELS: Final = (
    (constants.COMMANDS_ANNOTATION, "annotation of a ModelRollout", "Commands, a JSON list; see above."),
    (constants.COMMAND_ANNOTATION, "annotation of a ModelRollout", "One command, as JSON; see above."),
    (
        constants.FINALIZER,
        "finalizer of a ModelRollout",
        "Deletion first puts all traffic back on stable, then deletes the copies.",
    ),
    (constants.LABEL_ROLLOUT, "label of what the operator makes", "Name of the ModelRollout."),
    (constants.LABEL_RUN, "label of what the operator makes", "Id of the run."),
    (
        constants.LABEL_ROLE,
        "label of what the operator makes, and of its own pods",
        "candidate, shadow or validation; operator.",
    ),
    (
        constants.LABEL_VERSION,
        "label of its Deployments and their pods",
        "Digest of what was copied and what was changed in it.",
    ),
    (constants.ANNOTATION_OWNER, "annotation of its copies of stable", "The uid of the ModelRollout."),
)  # fmt: skip


def render() -> str:
    """Return the text of docs/reference.md."""
    schema = open_api_schema()
    parts = [INTRODUCTION]
    for name in ("spec", "status"):
        parts += [_object(path, part) for path, part in _objects(name, schema["properties"][name])]
        if name == "spec":
            parts += [_presets(), UNITS]
    parts += [_words(), _commands(), _labels(), _missing()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)


def _objects(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield every object of the schema under its path, parents first."""
    if "properties" in schema:
        yield path, schema
        for name, child in schema["properties"].items():
            yield from _objects(f"{path}.{name}", child)
    elif "items" in schema:
        yield from _objects(f"{path}[]", schema["items"])


def _object(path: str, schema: Schema) -> str:
    lines = [
        f"## {path}",
        "",
        schema.get("description", ""),
        "",
        "| field | type | default | |",
        "|---|---|---|---|",
    ]
    required = schema.get("required", ())
    for name, child in schema["properties"].items():
        default = "**required**" if name in required else _default(child)
        text = " ".join(part for part in (child.get("description", ""), _bounds(child)) if part)
        lines.append(f"| `{name}` | {_type(child)} | {default} | {_cell(text)} |")
    rules = _rules(path, schema)
    if rules:
        lines += ["", "Rules:", "", *rules]
    return "\n".join(lines)


def _rules(path: str, schema: Schema) -> list[str]:
    lines = [
        f"- {_where(rule.get('fieldPath'))}{rule['message']}"
        for rule in schema.get("x-kubernetes-validations", ())
    ]
    if path in _SAID_BY_SCHEMA:
        lines.append(f"- {_SAID_BY_SCHEMA[path]}")
    return lines + [
        f"- {_where('.' + rule.field)}{rule.message}{'' if rule.schema else ' *(lint)*'}"
        for rule in _LINT_ONLY.get(path, ())
    ]


def _where(field_path: str | None) -> str:
    return f"`{field_path[1:]}`: " if field_path else ""


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "number or percentage"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "quantity"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    if any(DURATION_PATTERN in rule["rule"] for rule in schema.get("x-kubernetes-validations", ())):
        return "duration"
    if schema.get("format") == "date-time":
        return "time"
    return str(schema.get("type", ""))


def _default(schema: Schema) -> str:
    default = schema.get("default")
    if default is None:
        return ""
    if isinstance(default, str | int | float):
        return f"`{str(default).lower() if isinstance(default, bool) else default}`"
    simple = isinstance(default, list) and all(isinstance(item, str) for item in default)
    return ", ".join(f"`{item}`" for item in default) if simple else "see below"


def _bounds(schema: Schema) -> str:
    parts: list[str] = []
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        parts.append(f"From {low} to {high}.")
    elif low is not None and schema.get("pattern") != UNSIGNED_QUANTITY_PATTERN:
        parts.append(f"At least {low}.")
    if "items" in schema and "maxItems" in schema:
        parts.append(f"At most {schema['maxItems']}.")
    if schema.get("type") == "string" and schema.get("maxLength", 0) > 20:
        parts.append(f"At most {schema['maxLength']} characters.")
    parts += [
        f"It {rule['message']}." for rule in schema.get("x-kubernetes-validations", ())
        if "properties" not in schema and rule["message"].startswith("must be a name")
    ]  # fmt: skip
    return " ".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _presets() -> str:
    lines = [
        "## Presets",
        "",
        "| preset | measures | unit | args | counts samples | to start from |",
        "|---|---|---|---|---|---|",
    ]
    for preset, info in PRESETS.items():
        args = ", ".join(
            f"`{name}`{' (required)' if name in info.required else ''}" for name in sorted(info.args)
        )
        samples = "yes" if info.has_samples else "no"
        lines.append(
            f"| `{preset}` | {_cell(info.summary)} | {info.unit} | {args} | {samples} | `{info.suggested}` |"
        )
    return "\n".join(lines)


def _table(title: str, head: str, rows: Mapping[Any, str]) -> list[str]:
    lines = [f"| `{name}` | {text} |" for name, text in rows.items()]
    return [f"## {title}", "", f"| {head} | |", "|---|---|", *lines, ""]


def _words() -> str:
    lines = _table("Phases", "phase", PHASES) + _table("Conditions", "type", CONDITIONS)
    reasons = ", ".join(f"`{reason}`" for reason in Reason)
    return "\n".join([*lines, f"Reasons: {reasons}."])


def _commands() -> str:
    value = '{"id": "42", "verb": "pause"}'
    example = f"kubectl annotate --overwrite mro emotion '{constants.COMMAND_ANNOTATION}={value}'"
    lines = _table("Commands", "verb", VERBS)
    usage = (
        f"`kubectl modelrollout VERB NAME` adds to the list in the annotation "
        f"`{constants.COMMANDS_ANNOTATION}` (at most {constants.COMMANDS_LIMIT} that wait); none is lost. "
        "They are carried out in order; with an abort among those that wait only the abort is, and the "
        "others are refused. Without the plugin there is room for one, and a second replaces it:"
    )
    rule = "The id is any text that was not used before: a command acts once."
    return "\n".join([*lines, usage, "", "```shell", example, "```", "", rule])


def _labels() -> str:
    rows = [f"| `{name}` | {what} | {text} |" for name, what, text in _LABELS]
    return "\n".join(["## Labels and annotations", "", "| name | on | |", "|---|---|---|", *rows])


def _missing() -> str:
    if not MISSING:
        return ""
    rows = [f"- `{feature.field}`: {feature.instead}." for feature in MISSING]
    head = "The schema admits these, but this version of the operator refuses them in the Ready condition:"
    return "\n".join(["## Not supported yet", "", head, "", *rows])


if __name__ == "__main__":
    sys.stdout.write(render())
