"""Scalars with a unit as people write them: `1h30m`, `200ms`, `20%`, `1Gi`, `25%` of the replicas.

Each type keeps the text it was given, so that reading and writing a resource changes nothing.
"""

import math
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

DURATION_PATTERN: Final = r"^(0|([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+)$"
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
MAX_DURATION_LENGTH: Final = 20
MAX_DURATION_SECONDS: Final = 366 * 86400.0

QUANTITY_PATTERN: Final = r"^-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?(%|us|ms|s|m|h|d|Ki|Mi|Gi|Ti|k|M|G|T)?$"
UNSIGNED_QUANTITY_PATTERN: Final = QUANTITY_PATTERN.replace("^-?", "^", 1)
MAX_QUANTITY_LENGTH: Final = 24
_QUANTITY: Final = re.compile(
    r"^(-?[0-9]+(?:\.[0-9]+)?(?:[eE]-?[0-9]+)?)(%|us|ms|s|m|h|d|Ki|Mi|Gi|Ti|k|M|G|T)?$"
)
_FACTORS: Final = {
    "": Decimal(1), "%": Decimal("0.01"),
    "us": Decimal("0.000001"), "ms": Decimal("0.001"), "s": Decimal(1),
    "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip
_TIME_UNITS: Final = frozenset({"us", *_SECONDS})

PERCENT_PATTERN: Final = r"^([0-9]|[1-9][0-9]|100)%$"

DURATION_MESSAGE: Final = "must be a duration such as 30s, 10m, 1h30m or 7d"
QUANTITY_MESSAGE: Final = "must be a number, optionally with a unit, such as 0.02, 20%, 200ms or 1Gi"
UNSIGNED_QUANTITY_MESSAGE: Final = "must be a number not below 0, such as 0.05, 20% or 20ms"
INT_OR_PERCENT_MESSAGE: Final = "must be a whole number of pods not below 0, or a percentage such as 25%"


def parse_duration(text: str) -> float:
    """Return seconds of a duration such as `1h30m`, `7d`, `200ms` or `0`.

    Raises ValueError with what was expected.
    """
    if len(text) > MAX_DURATION_LENGTH or not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{DURATION_MESSAGE}, not {text!r}")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    if seconds > MAX_DURATION_SECONDS:
        raise ValueError(f"must not be longer than 366d, not {text!r}")
    return seconds


def format_duration(seconds: float) -> str:
    """Return the shortest usual text for a number of seconds: 5400 → `1h30m`, 0.2 → `200ms`.

    Rounded to milliseconds; negative input is shown as `0s`.
    """
    rest = max(0, round(seconds * 1000))
    if rest == 0:
        return "0s"
    parts: list[str] = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


class Duration(str):
    """A duration as text; `.seconds` (float) and `.timedelta` give its length."""

    __slots__ = ("seconds",)
    seconds: float
    cel_rules: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __new__(cls, text: str) -> Self:
        """Parse `text`; ValueError if it is no duration."""
        seconds = parse_duration(text)
        self = super().__new__(cls, text)
        self.seconds = seconds
        return self

    def __getnewargs__(self) -> tuple[str]:
        return (str(self),)

    @classmethod
    def of(cls, seconds: float) -> "Duration":
        """Return the duration of that many seconds, rounded to milliseconds."""
        return cls(format_duration(seconds))

    @property
    def timedelta(self) -> timedelta:
        """The same as a timedelta."""
        return timedelta(seconds=self.seconds)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return _plain(cls, str)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        rules = [{"rule": f"self.matches(r'{DURATION_PATTERN}')", "message": DURATION_MESSAGE}]
        rules += [{"rule": rule, "message": message} for rule, message in cls.cel_rules]
        return {"type": "string", "maxLength": MAX_DURATION_LENGTH, "x-kubernetes-validations": rules}


class PositiveDuration(Duration):
    """A duration longer than nothing."""

    __slots__ = ()
    cel_rules = (("self.matches('[1-9]')", "must be longer than 0"),)

    def __new__(cls, text: str) -> Self:
        """Parse `text`; ValueError if it is no duration or nothing at all."""
        self = super().__new__(cls, text)
        if self.seconds <= 0:
            raise ValueError(f"must be longer than 0, not {text!r}")
        return self


class Quantity:
    """A threshold: a number or a text with a unit.

    `value` is in base units: seconds, bytes, ratio (`20%` is 0.2). `is_percent` tells `20%` from 0.2, which
    matters where the text means "20 % more" and 0.2 means "0.2 more".
    """

    __slots__ = ("raw", "unit", "value")
    pattern = QUANTITY_PATTERN
    message = QUANTITY_MESSAGE

    def __init__(self, raw: str | int | float) -> None:
        """Parse `raw`; ValueError if it is neither a finite number nor a number with a known unit."""
        self.raw = raw
        if isinstance(raw, str):
            match = _QUANTITY.fullmatch(raw)
            if len(raw) > MAX_QUANTITY_LENGTH or not match or not re.fullmatch(self.pattern, raw):
                raise ValueError(f"{self.message}, not {raw!r}")
            self.unit = match[2] or ""
            # in decimals, so that 99.9% is 0.999 and 7ms is 0.007, as people would write them
            self.value = float(Decimal(match[1]) * _FACTORS[self.unit])
        else:
            self.unit, self.value = "", float(raw)
        if not math.isfinite(self.value):
            raise ValueError(f"{self.message}, not {raw!r}")

    @property
    def is_percent(self) -> bool:
        """Whether it was written with a per cent sign."""
        return self.unit == "%"

    @property
    def is_time(self) -> bool:
        """Whether it was written with a unit of time."""
        return self.unit in _TIME_UNITS

    def __str__(self) -> str:
        return str(self.raw)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.raw!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return _plain(cls, str, int, float, write=lambda quantity: quantity.raw)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        # A structural schema has no "number or string": strings are bound by the pattern, the rest kept out.
        return {
            "x-kubernetes-preserve-unknown-fields": True,
            "pattern": cls.pattern,
            "maxLength": MAX_QUANTITY_LENGTH,
            "maxProperties": 0,
            "maxItems": 0,
            "not": {"enum": [True, False, {}, []]},
        }


class UnsignedQuantity(Quantity):
    """A quantity that is not negative: an allowed difference."""

    __slots__ = ()
    pattern = UNSIGNED_QUANTITY_PATTERN
    message = UNSIGNED_QUANTITY_MESSAGE

    def __init__(self, raw: str | int | float) -> None:
        """Parse `raw`; ValueError if it is negative or no quantity."""
        super().__init__(raw)
        if self.value < 0:
            raise ValueError(f"{self.message}, not {raw!r}")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**super().__get_pydantic_json_schema__(schema, handler), "minimum": 0}


class IntOrPercent:
    """A number of pods (`2`) or a share of them (`25%`), as in a Deployment's maxSurge."""

    __slots__ = ("raw",)

    def __init__(self, raw: str | int) -> None:
        """Parse `raw`; ValueError unless it is an integer not below 0 or `0%` to `100%`."""
        if isinstance(raw, str) and not re.fullmatch(PERCENT_PATTERN, raw):
            raise ValueError(f"{INT_OR_PERCENT_MESSAGE}, not {raw!r}")
        if isinstance(raw, int) and raw < 0:
            raise ValueError(f"{INT_OR_PERCENT_MESSAGE}, not {raw!r}")
        self.raw = raw

    @property
    def is_zero(self) -> bool:
        """Whether it is none at all, whatever the total."""
        return self.raw in (0, "0%")

    def of(self, total: int, *, round_up: bool) -> int:
        """Return the number of pods it means for `total` pods (an absolute number is returned as it is).

        Deployments round maxSurge and minimum capacities up and maxUnavailable down.
        """
        if isinstance(self.raw, int):
            return self.raw
        product = int(self.raw[:-1]) * total
        return -(-product // 100) if round_up else product // 100

    def __str__(self) -> str:
        return str(self.raw)

    def __repr__(self) -> str:
        return f"IntOrPercent({self.raw!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntOrPercent) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return _plain(cls, str, int, write=lambda amount: amount.raw)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "x-kubernetes-int-or-string": True,
            "maxLength": 4,
            "x-kubernetes-validations": [
                {
                    "rule": f"type(self) == int ? self >= 0 : self.matches(r'{PERCENT_PATTERN}')",
                    "message": INT_OR_PERCENT_MESSAGE,
                }
            ],
        }


def _plain(
    cls: type[Any], *accepted: type, write: Callable[[Any], object] | None = None
) -> core_schema.CoreSchema:
    """Return the schema of a scalar: made of any of the accepted JSON types, written as it was read."""

    def validate(value: object) -> object:
        if isinstance(value, cls):
            return value
        if isinstance(value, bool) or not isinstance(value, accepted):
            names = " or ".join({"str": "a string", "int": "an integer"}.get(t.__name__, "a number")
                                for t in accepted)  # fmt: skip
            raise PydanticCustomError("scalar", "{text}", {"text": f"must be {names}, not {value!r}"})
        try:
            return cls(value)
        except ValueError as error:
            raise PydanticCustomError("scalar", "{text}", {"text": str(error)}) from None

    serializer = core_schema.plain_serializer_function_ser_schema(write or str)
    return core_schema.no_info_plain_validator_function(validate, serialization=serializer)
