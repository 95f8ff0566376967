"""The vote, the cache and the workers of the detector, and pieces that are cut at any line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.predictors.docdetector import detector, python_text
from inference_server.predictors.docdetector.detector import Detector, Weights, judge
from inference_server.predictors.docdetector.items import Language, Method
from inference_server.predictors.docdetector.pieces import SHARES, Sign, look

PYTHON, RUST, OTHER = Language.PYTHON, Language.RUST, Language.OTHER


@pytest.fixture
def one() -> Iterator[Detector]:
    detector = Detector(cached=3)
    yield detector
    detector.close()


@pytest.mark.parametrize(
    ("code", "language", "expected", "method"),
    [
        ('def f():\n    """Text."""\n', PYTHON, True, Method.PARSER),
        ("def f():\n    pass\n", PYTHON, False, Method.PARSER),
        ('    return 1\n  def f(self):\n        """Text', PYTHON, True, Method.TOLERANT),
        ("/// Text\nfn f() {}", RUST, True, Method.PARSER),
        ("fn f() {}", RUST, False, Method.PARSER),
        ("/// Text\nfn f() {", RUST, True, Method.TOLERANT),
        ("/**\n * Text\n */\nvoid f() {}", OTHER, True, Method.PATTERNS),
        ("void f() {}", OTHER, False, Method.PATTERNS),
    ],
)
def test_verdicts(code: str, language: Language, expected: bool, method: Method, one: Detector) -> None:
    answer = one.detect(code, language)
    assert (answer.has_documentation, answer.method) == (expected, method)
    assert answer.confidence >= (0.5 if language is OTHER else 0.9)


def test_items_of_whole_code(one: Detector) -> None:
    answer = one.detect('"""A."""\ndef f(): pass\n', PYTHON)
    assert (answer.documented, len(answer.items)) == (1, 2)


@pytest.mark.parametrize(
    ("code", "sign"),
    [
        ('async def f(\n    a,\n):\n    """Text."""\n  broken(', Sign.DOCSTRING),
        ('class A: "Text."\n  broken(', Sign.DOCSTRING),
        ('    b: int = 2,\n) -> None:\n    """Text."""\n    return 1\n', Sign.SIGNATURE),
        ('        """Text."""\n        return 1\n    pass', Sign.FIRST),
        ('    and more text of a sentence.\n    """\n    return 1\n', Sign.TAIL),
        ("This is a sentence of several words, and it isn't code\n", Sign.PROSE),
        ('    select a from b\n    """, (1, 2))\n    x = 1\n', Sign.DATA),
        ('    "a",\n    "b",\n)\n', Sign.NONE),
        ('    if x:\n        return """\n  text"""\n', Sign.NONE),
        ("        return 1\n    def f(self):\n        pass\n", Sign.NONE),
    ],
)
def test_what_is_seen_in_pieces_of_python(code: str, sign: Sign) -> None:
    assert look(code, PYTHON).sign is sign


@pytest.mark.parametrize(
    ("code", "sign"),
    [
        ("    }\n    /// Text\n", Sign.DOCSTRING),
        ("words of a comment that began before\n*/\nfn f() {", Sign.TAIL),
        ("    let a = 1;\n}\n}\n", Sign.NONE),
        ('    println!("/// text");\n}\n', Sign.NONE),
    ],
)
def test_what_is_seen_in_pieces_of_rust(code: str, sign: Sign) -> None:
    assert look(code, RUST).sign is sign


def test_every_detector_that_knows_the_language_votes() -> None:
    answer = judge('def f():\n    """Text."""\n', PYTHON, Weights())
    assert set(answer.votes) == {"python", "patterns", "confidence"}
    assert set(judge("fn f() {}", RUST, Weights()).votes) == {"rust", "patterns", "confidence"}
    assert set(judge("f()", OTHER, Weights()).votes) == {"patterns", "confidence"}


def test_weights_and_threshold_decide() -> None:
    code = 'x = """\n"""\nif x:\n    """late"""\n'
    assert not judge(code, PYTHON, Weights()).has_documentation
    assert judge(code, PYTHON, Weights(python=0, patterns=1, confidence=0)).has_documentation
    assert not judge(code, PYTHON, Weights(patterns=0.6, threshold=0.9)).has_documentation


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        ({"python": -0.1}, "below 0"),
        ({"patterns": 0, "confidence": 0}, "other languages have no vote"),
        ({"threshold": 1}, "threshold"),
    ],
)
def test_weights_that_cannot_vote_are_refused(weights: dict[str, float], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Weights(**weights)


def test_an_answer_is_remembered_by_content_and_language(
    one: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = []

    def counting(code: str, language: Language, weights: Weights) -> detector.Answer:
        judged.append(code)
        return judge(code, language, weights)

    monkeypatch.setattr(detector, "judge", counting)
    one.detect_many([("a", PYTHON), ("a", PYTHON), ("a", RUST)])
    one.detect("a", PYTHON)
    assert judged == ["a", "a"]
    for code in ("b", "c"):
        one.detect(code, PYTHON)
    one.detect("a", RUST)  # the oldest of four in a cache of three
    assert judged == ["a", "a", "b", "c", "a"]


def test_workers_give_the_same_answers_in_order() -> None:
    pieces = [(f'def f{n}():\n    """{n}"""\n' if n % 3 else f"x = {n}", PYTHON) for n in range(30)]
    spread = Detector(workers=2)
    alone = Detector()
    try:
        assert spread.detect_many(pieces) == alone.detect_many(pieces)
    finally:
        spread.close()
    with pytest.raises(ValueError, match="9 workers; expected 1 to 8"):
        Detector(workers=9)


@pytest.mark.parametrize("language", Language)
@given(code=st.text(alphabet=st.sampled_from("\"'#/*!\\\n\t ()[]{}:=defclasfn\ud800é\0"), max_size=80))
def test_any_text_gives_an_answer(language: Language, code: str) -> None:
    assert 0 <= judge(code, language, Weights()).confidence <= 1


@pytest.mark.parametrize(
    "code", ["(" * 50_000, "'" * 50_001, '"""' * 20_000, "\\" * 50_000, "a " * 50_000, "/*" * 50_000]
)
@pytest.mark.parametrize("language", Language)
def test_hostile_text_is_answered_in_time(code: str, language: Language) -> None:
    assert judge(dedent(code), language, Weights()).confidence >= 0


def test_shares_are_shares() -> None:
    assert all(0 < share < 1 for share in SHARES.values())


@pytest.mark.parametrize("text", ["a" * 200_000, "1a" * 100_000, "'" + "x\n'" * 400_000])
def test_the_time_for_long_words_and_open_quotes_grows_with_the_length_alone(text: str) -> None:
    """Each took minutes."""
    started = time.process_time()
    python_text.is_prose(f"{text}( two three four five")
    python_text.read(text)
    assert time.process_time() - started < 10
