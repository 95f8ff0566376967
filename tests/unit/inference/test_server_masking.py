"""Masking of personal data: our cases, generated ones, and texts that must stay as they are."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_server.masking import LOGGED_CHARACTERS, PLACEHOLDERS, logged_text, mask
from inference_server.validation.suites import load_cases

CASES = load_cases("pii")
BEFORE = st.sampled_from(["", "Bonjour, ", "please note: ", "voici mon contact : ", "(", "« "])
AFTER = st.sampled_from(["", ".", ", merci", " thanks", ")", " »", " !", "\nBye"])


@pytest.mark.parametrize("case", CASES, ids=[f"{c['kind']}-{n}" for n, c in enumerate(CASES)])
def test_no_secret_of_our_cases_remains(case: dict) -> None:
    for secret in case["secrets"]:
        assert secret not in mask(case["text"])
        assert secret not in logged_text(case["text"])
    if not case["secrets"]:
        assert mask(case["text"]) == case["text"]


def emails() -> st.SearchStrategy[str]:
    word = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)
    local = st.lists(word, min_size=1, max_size=3).map(".".join)
    host = st.lists(word, min_size=1, max_size=3).map("-".join)
    return st.builds(
        lambda a, b, tld: f"{a}@{b}.{tld}", local, host, st.sampled_from(["fr", "com", "co.uk", "paris"])
    )


def french_phones() -> st.SearchStrategy[str]:
    pairs = st.lists(st.integers(0, 99).map("{:02d}".format), min_size=4, max_size=4)
    start = st.sampled_from(["0", "+33 ", "+33", "0033 ", "+33 (0)"])
    return st.builds(
        lambda prefix, first, rest, gap: prefix + str(first) + gap + gap.join(rest),
        start, st.integers(1, 9), pairs, st.sampled_from(["", " ", ".", "-", "\u00a0"]),
    )  # fmt: skip


def american_phones() -> st.SearchStrategy[str]:
    return st.builds(
        lambda a, b, c, form: form.format(a, b, c),
        st.integers(200, 999), st.integers(200, 999), st.integers(0, 9999).map("{:04d}".format),
        st.sampled_from(["({}) {}-{}", "{}-{}-{}", "{}.{}.{}", "+1 {} {} {}", "1-{}-{}-{}"]),
    )  # fmt: skip


def with_check_digit(digits: str) -> str:
    for last in "0123456789":
        total = 0
        for position, digit in enumerate(reversed(digits + last)):
            value = int(digit) * (2 if position % 2 else 1)
            total += value - 9 if value > 9 else value
        if total % 10 == 0:
            return digits + last
    raise AssertionError("one of ten digits always fits")


def cards() -> st.SearchStrategy[str]:
    number = st.text("0123456789", min_size=14, max_size=14).map(lambda d: with_check_digit("4" + d))
    return st.builds(
        lambda n, gap: gap.join(n[i : i + 4] for i in range(0, 16, 4)),
        number,
        st.sampled_from(["", " ", "-"]),
    )


def ibans() -> st.SearchStrategy[str]:
    def build(country: str, body: str, spaced: bool) -> str:
        digits = "".join(str(int(c, 36)) for c in body + country + "00")
        iban = f"{country}{98 - int(digits) % 97:02d}{body}"
        return " ".join(iban[i : i + 4] for i in range(0, len(iban), 4)) if spaced else iban

    digits = st.text("0123456789", min_size=16, max_size=23)
    return st.builds(build, st.sampled_from(["FR", "DE", "BE", "ES", "GB"]), digits, st.booleans())


def names() -> st.SearchStrategy[str]:
    title = st.sampled_from(
        ["M.", "Mme", "Mlle", "Mr", "Mr.", "Mrs", "Mrs.", "Ms", "Dr", "Dr.", "Monsieur", "Madame", "Prof."]
    )
    name = st.sampled_from(
        ["Durand", "Lefèvre", "O'Connor", "Saint-Exupéry", "Müller", "Ångström", "Zidane", "Nguyễn"]
    )
    return st.builds("{} {}".format, title, name)


@settings(max_examples=300, deadline=None)
@given(BEFORE, st.one_of(emails(), french_phones(), american_phones(), cards(), ibans()), AFTER)
def test_generated_data_are_masked_wherever_they_stand(before: str, secret: str, after: str) -> None:
    masked = mask(before + secret + after)
    digits = [c for c in masked if c.isdecimal()]
    assert secret not in masked
    assert not digits, f"some of {secret!r} is left in {masked!r}"
    assert any(placeholder in masked for placeholder in PLACEHOLDERS)


@settings(max_examples=100, deadline=None)
@given(BEFORE, names(), AFTER)
def test_names_after_titles_are_masked(before: str, titled: str, after: str) -> None:
    masked = mask(before + titled + after)
    assert titled.rpartition(" ")[2] not in masked
    assert "[NAME]" in masked


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(max_size=300), st.text("0123456789 .-+()@:abM", max_size=200)))
def test_masking_twice_changes_nothing(text: str) -> None:
    once = mask(text)
    assert mask(once) == once


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=400),
        st.lists(st.one_of(emails(), names(), st.just("well")), max_size=12).map(" ".join),
    )
)
def test_logged_text_is_short_one_line_and_masked_before_the_cut(text: str) -> None:
    logged = logged_text(text)
    assert len(logged) <= LOGGED_CHARACTERS
    assert "\n" not in logged
    assert "@" not in logged or "@" not in "".join(p for p in text.split() if "." in p.partition("@")[2])
    # A "[" that the writer typed is text like any other; one of ours must not be cut in its middle.
    opened = logged.rfind("[")
    whole = opened < 0 or "]" in logged[opened:]
    assert "[" in text or whole or not any(p.startswith(logged[opened:]) for p in PLACEHOLDERS)


def test_the_cut_comes_after_the_mask() -> None:
    text = "x" * 45 + " jane.doe@example.com"
    assert logged_text(text) == "x" * 45


@pytest.mark.parametrize(
    "evil", ["1 " * 5000, "a.b@" * 2500, "M. A" * 2500, ":" * 10_000, "0-" * 5000, "FR76" + " A1" * 3000]
)
def test_no_text_makes_masking_slow(evil: str) -> None:
    started = time.process_time()
    mask(evil)
    assert time.process_time() - started < 2.0
