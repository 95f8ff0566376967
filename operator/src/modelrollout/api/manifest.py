"""Everything that can be said about a manifest without a cluster.

The rules of the API server and the operator's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from modelrollout.api.base import Rule
from modelrollout.api.constants import API_VERSION, KIND
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.workload import DNS_LABEL

MAX_NAME_LENGTH: Final = 50

NAME_RULE: Final = Rule(
    field="metadata.name",
    message=f"metadata.name must be at most {MAX_NAME_LENGTH} characters of a-z, 0-9 and - "
    "(Services and Jobs are called after it)",
    cel=f"self.metadata.name.size() <= {MAX_NAME_LENGTH} && self.metadata.name.matches(r'{DNS_LABEL}')",
    holds=lambda name: len(name) <= MAX_NAME_LENGTH and re.fullmatch(DNS_LABEL, name) is not None,
)

_SENTENCES: Final = {
    "missing": "must be given",
    "extra_forbidden": "is no field of a ModelRollout; see `kubectl explain mro.spec --recursive`",
    "enum": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_long": "must have at most {max_length} {things}",
    "too_short": "must have at least {min_length} {things}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a text; write it in quotes",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "mapping_type": "must be an object",
    "model_type": "must be an object",
}
_COUNTED: Final = ("too_long", "too_short", "string_too_long", "string_too_short")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that is wrong: where (such as `spec.criteria[2].max`) and what, as half a sentence."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def path_of(parts: tuple[str | int, ...]) -> str:
    """Return the path as people write it: ("steps", 0, "weight") → `spec.steps[0].weight`."""
    text = "spec"
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


def spec_problems(error: ValidationError) -> list[Problem]:
    """Return the problems behind an error of `ModelRolloutSpec.model_validate`, one for each broken rule."""
    problems: list[Problem] = []
    for detail in error.errors():
        path = path_of(detail["loc"])
        if detail["type"] == "rules":
            problems += [
                Problem(path=f"{path}.{field}" if field else path, message=message)
                for field, message in detail["ctx"]["broken"]
            ]
        elif not (detail["type"] == "too_short" and _explained(path, problems)):
            problems.append(Problem(path=path, message=_sentence(detail)))
    return problems


def _explained(path: str, problems: list[Problem]) -> bool:
    """Tell whether a list only looks too short because of items that are wrong themselves."""
    return any(problem.path.startswith(f"{path}[") for problem in problems)


def _sentence(detail: ErrorDetails) -> str:
    """Return what is wrong and what was seen."""
    kind, seen = detail["type"], detail["input"]
    if kind in _SENTENCES:
        things = "characters" if isinstance(seen, str) else "items"
        text = _SENTENCES[kind].format(**{"things": things, **detail.get("ctx", {})})
    else:
        text = detail["msg"]
    if kind in _COUNTED:
        return f"{text}, not {len(seen)}"
    told = kind in ("missing", "extra_forbidden") or repr(seen) in text
    return text if told or not isinstance(seen, str | int | float) else f"{text}, not {seen!r}"


def manifest_problems(document: object) -> list[Problem]:
    """Return what the API server would refuse in a manifest, and what it cannot see itself.

    Empty if the manifest is good. Features this version lacks are not in it: see `features.unsupported`.
    """
    if not isinstance(document, Mapping):
        return [Problem(path="(document)", message=f"must be an object, not {type(document).__name__}")]
    problems = [
        Problem(path=field, message=f"must be {expected}, not {document.get(field)!r}")
        for field, expected in (("apiVersion", API_VERSION), ("kind", KIND))
        if document.get(field) != expected
    ]
    problems += _name_problems(document.get("metadata"))
    if "spec" not in document:
        return [*problems, Problem(path="spec", message="must be given")]
    try:
        ModelRolloutSpec.model_validate(document["spec"])
    except ValidationError as error:
        problems += spec_problems(error)
    return problems


def _name_problems(metadata: Any) -> list[Problem]:
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or not name:
        return [Problem(path="metadata.name", message="must be given")]
    if not NAME_RULE.holds(name):
        return [Problem(path=NAME_RULE.field, message=f"{NAME_RULE.message}, not {name!r}")]
    return []
