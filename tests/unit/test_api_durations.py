"""Durations, quantities and shares: read exactly, refused with a sentence, written back as they were."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from modelrollout.api.durations import (
    Duration,
    IntOrPercent,
    PositiveDuration,
    Quantity,
    UnsignedQuantity,
    format_duration,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("0s", 0), ("10m", 600), ("1h30m", 5400), ("7d", 604800), ("200ms", 0.2), ("1.5s", 1.5),
        ("1d12h", 129600), ("30s", 30), ("366d", 366 * 86400), ("1h1m1s1ms", 3661.001),
    ],
)  # fmt: skip
def test_a_duration_has_the_seconds_that_people_mean(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-9)
    assert Duration(text).seconds == parse_duration(text)
    assert Duration(text) == text


@pytest.mark.parametrize(
    "text", ["", "10", "10 m", "-5m", "1w", "m", "1h 30m", "1.s", "10M", "367d", "1h\n", "9" * 30 + "s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must (be a duration|not be longer)"):
        Duration(text)


def test_a_positive_duration_is_longer_than_nothing() -> None:
    assert PositiveDuration("1ms").seconds == 0.001
    for text in ("0", "0s", "0h0m"):
        with pytest.raises(ValueError, match="must be longer than 0"):
            PositiveDuration(text)


@given(st.integers(min_value=0, max_value=300 * 86_400_000))
def test_formatting_and_reading_a_duration_agree_to_the_millisecond(milliseconds: int) -> None:
    text = format_duration(milliseconds / 1000)
    assert round(parse_duration(text) * 1000) == milliseconds


def test_a_duration_survives_copies_and_pickling() -> None:
    original = Duration("1h30m")
    for twin in (copy.copy(original), copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert twin == original
        assert twin.seconds == 5400


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (0, 0.0), (0.02, 0.02), ("2%", 0.02), ("20%", 0.2), ("200ms", 0.2), ("0.5s", 0.5), ("1m", 60.0),
        ("1Gi", 2.0**30), ("1.5k", 1500.0), ("-3", -3.0), ("5e-3", 0.005), ("100us", 0.0001),
        ("99.9%", 0.999), (-1, -1.0), ("7%", 0.07),
    ],
)  # fmt: skip
def test_a_quantity_has_exactly_the_value_in_base_units(raw: str | float, value: float) -> None:
    assert Quantity(raw).value == value
    assert Quantity(raw).raw == raw
    assert str(Quantity(raw)) == str(raw)


@pytest.mark.parametrize(
    "raw", ["", "%", "200 ms", "1,5", "abc", "1e999", "0x10", "NaN", "1.2.3", "5%%", "1\n", "1" * 25]
)
def test_what_is_no_quantity_is_refused(raw: str) -> None:
    with pytest.raises(ValueError, match="must be a number, optionally with a unit"):
        Quantity(raw)


def test_infinite_numbers_are_no_quantities() -> None:
    for raw in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be a number"):
            Quantity(raw)


def test_an_allowed_difference_is_not_negative() -> None:
    assert UnsignedQuantity("20%").is_percent
    assert not UnsignedQuantity(0.2).is_percent
    for raw in (-0.1, "-20%"):
        with pytest.raises(ValueError, match="must be a number not below 0"):
            UnsignedQuantity(raw)


@pytest.mark.parametrize(
    ("raw", "total", "up", "down"),
    [
        ("25%", 10, 3, 2),
        ("50%", 3, 2, 1),
        ("0%", 10, 0, 0),
        ("100%", 7, 7, 7),
        (2, 10, 2, 2),
        ("29%", 100, 29, 29),
        ("1%", 1, 1, 0),
    ],
)
def test_a_share_of_pods_is_rounded_as_asked(raw: str | int, total: int, up: int, down: int) -> None:
    assert IntOrPercent(raw).of(total, round_up=True) == up
    assert IntOrPercent(raw).of(total, round_up=False) == down


@pytest.mark.parametrize("raw", ["101%", "-1%", "25", "1.5%", "%", -1, "0025%", "5%\n"])
def test_what_is_no_share_of_pods_is_refused(raw: str | int) -> None:
    with pytest.raises(ValueError, match="must be a whole number of pods not below 0, or a percentage"):
        IntOrPercent(raw)


class _Scalars(BaseModel):
    duration: Duration
    quantity: Quantity
    share: IntOrPercent


@given(
    st.sampled_from(["10m", "1h30m", "0", "200ms"]),
    st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6), st.sampled_from(["2%", "200ms", "1Gi"])),
    st.one_of(st.integers(0, 1000), st.integers(0, 100).map(lambda share: f"{share}%")),
)
def test_json_is_written_as_it_was_read(duration: str, quantity: str | float, share: str | int) -> None:
    document = {"duration": duration, "quantity": quantity, "share": share}
    assert _Scalars.model_validate(document).model_dump(mode="json") == document


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("duration", 600, "must be a string, not 600"),
        ("quantity", True, "must be a string or an integer or a number, not True"),
        ("quantity", None, "must be a string or an integer or a number"),
        ("share", 0.5, "must be a string or an integer, not 0.5"),
        ("share", "half", "such as 25%, not 'half'"),
    ],
)
def test_a_wrong_type_is_named(field: str, value: object, sentence: str) -> None:
    good: dict[str, object] = {"duration": "1m", "quantity": 1, "share": 1}
    with pytest.raises(ValidationError) as raised:
        _Scalars.model_validate({**good, field: value})
    assert sentence in str(raised.value)
