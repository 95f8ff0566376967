"""Preprocessing that training and every route share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.text import MAX_CHARACTERS, QUERY_PREFIX, encoder_input, normalise


@given(st.text(alphabet=st.characters(), max_size=400))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(st.text(alphabet=st.characters(), max_size=400))
def test_normalised_text_is_one_trimmed_line_of_bounded_length(text: str) -> None:
    result = normalise(text)
    assert result == result.strip()
    assert len(result) <= MAX_CHARACTERS
    assert "  " not in result
    assert not set(result) & set("\n\r\t\0")
    result.encode("utf-8")


@given(st.text(max_size=200))
def test_the_encoder_reads_the_prefix_and_the_normalised_text(text: str) -> None:
    assert encoder_input(text) == QUERY_PREFIX + normalise(text)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("so happy 😂😂😂", "so happy laughing with tears of joy"),
        ("👍🏽 ok", "thumbs up ok"),
        ("I ❤️ it", "I red heart it"),
        ("noooooo", "noo"),
        ("Sooo GOOOOD!!!!!!", "Soo GOOD!!!"),
        ("coffee and the app", "coffee and the app"),
        ("[NAME] is [RELIGION]", "name is religion"),
        ("see https://example.org/x?y=1 now", "see link now"),
        ("it’s “fine”…", 'it\'s "fine"...'),
        ("a\tb\n\nc", "a b c"),
        ("déçu, ça ne va pas", "déçu, ça ne va pas"),
        ("zero\u200bwidth", "zerowidth"),
        ("\ud83d lone", "lone"),
        ("", ""),
    ],
)
def test_what_normalising_does(raw: str, expected: str) -> None:
    assert normalise(raw) == expected


def test_a_long_text_is_cut_before_anything_else() -> None:
    assert len(normalise("word " * 100_000)) <= MAX_CHARACTERS
