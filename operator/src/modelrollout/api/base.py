"""What all models of the resource share: names, immutability, rules, and exact JSON."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    Strict,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, core_schema

MESSAGE_LENGTH = 4096


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule over the fields of a model, in both languages.

    `cel` is what the API server checks, `holds` what Python checks on the model, `message` what both say,
    `field` the field (JSON name) that is to be changed, empty for the object itself. `schema` is an OpenAPI
    constraint for the API server where CEL cannot see a field (one that is a number or a text). A rule with
    neither needs what no schema can express: the operator's Ready condition and `lint` say it.
    """

    message: str
    field: str
    holds: Callable[[Any], bool]
    cel: str | None = None
    schema: Mapping[str, Any] | None = None


def _publish_rules(schema: dict[str, Any], model: type[Any]) -> None:
    """Put the rules of a model into its JSON schema, as the API server reads them."""
    cel = [
        {"rule": rule.cel, "message": rule.message} | ({"fieldPath": f".{rule.field}"} if rule.field else {})
        for rule in model.rules
        if rule.cel
    ]
    constraints = [dict(rule.schema) for rule in model.rules if rule.schema]
    if cel:
        schema["x-kubernetes-validations"] = cel
    if constraints:
        schema["allOf"] = constraints


class SpecModel(BaseModel):
    """Base of everything in spec: frozen, camelCase in JSON, unknown fields refused, rules enforced."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
        json_schema_extra=_publish_rules,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _enforce_rules(self) -> Self:
        broken = [(rule.field, rule.message) for rule in self.rules if not rule.holds(self)]
        if broken:
            text = "; ".join(f"{field}: {message}" if field else message for field, message in broken)
            raise PydanticCustomError("rules", "{text}", {"text": text, "broken": broken})
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form with camelCase names; what is None is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(BaseModel):
    """Base of everything in status: frozen, camelCase in JSON; fields of a newer version are passed over."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
    )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form with camelCase names; what is None or empty by default is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _unique_names(items: tuple[Any, ...]) -> tuple[Any, ...]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item.name in seen:
            raise PydanticCustomError(
                "duplicate",
                "names must be unique, but [{index}] repeats {name}",
                {"index": index, "name": item.name},
            )
        seen.add(item.name)
    return items


Item = TypeVar("Item", bound=BaseModel)
NamedList = Annotated[
    tuple[Item, ...],
    AfterValidator(_unique_names),
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
]
"""A list whose items have unique names, so that server-side apply merges them by name."""


def _unique_items(items: tuple[Any, ...]) -> tuple[Any, ...]:
    for index, item in enumerate(items):
        if item in items[:index]:
            raise PydanticCustomError(
                "duplicate", "must not repeat {item}, as [{index}] does", {"item": str(item), "index": index}
            )
    return items


Scalar = TypeVar("Scalar")
SetOf = Annotated[
    tuple[Scalar, ...],
    AfterValidator(_unique_items),
    Field(json_schema_extra={"x-kubernetes-list-type": "set"}),
]
"""A list in which nothing is repeated."""


@dataclass(frozen=True)
class Matches:
    """Marks a text that must match `pattern`; the API server and Python say `message` when it does not."""

    pattern: str
    message: str

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        # `$` also matches before a final line break in Python, but not in CEL
        compiled = re.compile(re.sub(r"\$$", r"\\Z", self.pattern))

        def check(text: str) -> str:
            if not compiled.search(text):
                raise PydanticCustomError("matches", "{text}", {"text": f"{self.message}, not {text!r}"})
            return text

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        rule = {"rule": f"self.matches(r'{self.pattern}')", "message": self.message}
        return {**handler(schema), "x-kubernetes-validations": [rule]}


Int = Annotated[int, Strict()]
"""An integer, not a text that looks like one."""
Float = Annotated[float, Strict()]
"""A number, not a text that looks like one."""
Bool = Annotated[bool, Strict()]
"""true or false, not a text that looks like it."""


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise PydanticCustomError("timestamp", "must have a time zone, such as 2026-01-31T12:00:00Z")
    return value.astimezone(UTC)


def format_timestamp(value: datetime) -> str:
    """RFC 3339 in UTC; microseconds only where there are any."""
    value = value.astimezone(UTC)
    return value.isoformat(timespec="microseconds" if value.microsecond else "seconds").replace("+00:00", "Z")


def _shorten(value: object) -> object:
    if isinstance(value, str) and len(value) > MESSAGE_LENGTH:
        return value[: MESSAGE_LENGTH - 1] + "…"
    return value


Message = Annotated[str, BeforeValidator(_shorten)]
"""A sentence for people, cut rather than refused when it is too long."""


def truncate_to_seconds(value: datetime) -> datetime:
    """Return the same instant without its fraction of a second."""
    return value.replace(microsecond=0)


ADDED_LATER: dict[str, Any] = {"x-added-later": True}
"""The `json_schema_extra` of a field of spec that has a default and was not in the first release.

The CRD tells its default in words only. Otherwise the API server puts the field into every object, and the
operator of the release before, which meets the newer CRD during every upgrade, refuses every ModelRollout.
"""

Timestamp = Annotated[
    datetime,
    AfterValidator(_to_utc),
    PlainSerializer(format_timestamp, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 40}),
]
"""An instant in UTC, written as RFC 3339 with microseconds."""
