"""Rules for categories: what matches, which files are refused, which rules can never fire."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from inference_server.predictors.suggestions import rulefile
from inference_server.predictors.suggestions.commands import lint_rules
from inference_server.predictors.suggestions.lint import lint
from inference_server.predictors.suggestions.normalise import clean, fold
from inference_server.predictors.suggestions.rulefile import RuleFile
from inference_server.predictors.suggestions.rules import RuleError, parse_rules, read_rules
from inference_server.predictors.suggestions.transactions import Transaction

SHIPPED = read_rules()


BAD_FILES = [
    ("rules: " + "[" * 5000, "expected YAML"),
    ("rules: [2026-99-99]", "expected YAML"),
    ("rules: [{name: a, category: B, words: [x], priority: .inf}]", "priority: expected a number"),
    ("rules: [{name: a, category: B, words: [x], priority: 1" + "0" * 400 + "}]", "priority: expected"),
    (
        "rules: [{name: a, category: B, words: [x], amount: {min: 0x1" + "0" * 5000 + "}}]",
        "too large to show",
    ),
    ("rules: [{name: a, category: B, pattern: 'x{99999999999}'}]", "a regular expression"),
]
"""Files that raised something else than a RuleError."""


def rules(text: str):
    return parse_rules(text, "rules.yaml")


def answer(text: str, description: str, *, merchant: str = "", amount: float | None = None) -> str:
    return rules(text).match(Transaction(description=description, merchant=merchant, amount=amount)).category


@pytest.mark.parametrize(
    ("description", "merchant", "category"),
    [
        ("CB CARREFOUR CITY 12/03", "", "Groceries"),
        ("CARD PAYMENT TO TESCO STORES 3297", "", "Groceries"),
        ("SAINSBURYS S/MKTS", "", "Groceries"),
        ("POS PURCHASE TRADER JOE'S #552", "", "Groceries"),
        ("PAIEMENT CB MCDONALD'S PARIS 11", "", "Dining"),
        ("UBER *EATS HELP.UBER.COM", "", "Dining"),
        ("UBER *TRIP", "", "Transport"),
        ("SNCF INTERNET PARIS 10", "", "Transport"),
        ("TFL TRAVEL CHARGE", "", "Transport"),
        ("SHELL OIL 57444", "", "Transport"),
        ("AMAZON PRIME FR", "", "Subscriptions"),
        ("AMZN Mktp US*2X4", "", "Shopping"),
        ("NETFLIX.COM", "", "Subscriptions"),
        ("PRLV SEPA SPOTIFY AB", "", "Subscriptions"),
        ("UGC CINE CITE", "", "Entertainment"),
        ("TICKETMASTER UK", "", "Entertainment"),
        ("H&M 0042 LONDON", "", "Shopping"),
        ("B & Q 1234", "", "Shopping"),
        ("xyz 123", "Leroy Merlin", "Shopping"),
        ("PHARMACIE DU MARCHÉ", "", "Health"),
        ("RETRAIT DAB 14H02", "", "Cash"),
        ("VIR SEPA RECU", "", "Transfers"),
        ("LOYER MARS", "", "Housing"),
        ("???", "", "Other"),
        ("", "", "Other"),
    ],
)
def test_the_shipped_rules_know_common_statements(description: str, merchant: str, category: str) -> None:
    assert SHIPPED.match(Transaction(description=description, merchant=merchant)).category == category


def test_the_shipped_rules_have_none_that_never_fires() -> None:
    assert [str(finding) for finding in lint(SHIPPED) if finding.whole] == []


def test_priority_then_order_then_amount_and_sign() -> None:
    text = """
    default: None of them
    rules:
    - {name: late, category: Late, words: [shop]}
    - {name: later, category: Later, words: [shop]}
    - {name: small, category: Small, words: [shop], amount: {max: 5}, priority: 60}
    - {name: paid back, category: Back, words: [shop], sign: credit, priority: 70}
    - {name: very large, category: Large, amount: {min: 1000}, priority: 90}
    """
    assert answer(text, "the SHOP") == "Late"
    assert answer(text, "the SHOP", amount=-5) == "Small"
    assert answer(text, "the SHOP", amount=-5.01) == "Late"
    assert answer(text, "the SHOP", amount=4) == "Back"
    assert answer(text, "the SHOP", amount=-1000) == "Large"
    assert answer(text, "workshop") == "None of them"


def test_phrases_beginnings_patterns_and_the_merchant_alone() -> None:
    text = """
    rules:
    - {name: phrase, category: Phrase, words: [marks & spencer]}
    - {name: beginning, category: Beginning, words: [pharm*, gare du no*]}
    - {name: pattern, category: Pattern, pattern: 'sq\\s+\\w+ bakery'}
    - {name: merchant, category: Merchant, merchant: [acme]}
    """
    assert answer(text, "MARKS & SPENCER PLC") == "Phrase"
    assert answer(text, "MARKS AND SPENCER") == "Other"
    assert answer(text, "PHARMACIE") == "Beginning"
    assert answer(text, "GARE DU NORD") == "Beginning"
    assert answer(text, "PHAR") == "Other"
    assert answer(text, "SQ *CORNER BAKERY") == "Pattern"
    assert answer(text, "acme") == "Other"
    assert answer(text, "x", merchant="ACME Ltd") == "Merchant"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an object with"),
        ("rules: [", "expected YAML"),
        ("rules: {}", "an object with"),
        ("{rules: [], other: 1}", "an object with"),
        ("rules: [1]", 'rule 1: expected an object with a "name"'),
        (
            "rules: [{name: a, category: B}]",
            r"rule 1 \(a\): expected words, merchant, pattern, amount or sign",
        ),
        ("rules: [{name: a, category: B, words: [x], colour: red}]", "only the fields"),
        ("rules: [{name: a, words: [x]}]", "category: expected a category"),
        ("rules: [{name: a, category: B, words: x}]", "a list of words"),
        ("rules: [{name: a, category: B, words: ['--']}]", "letters or digits"),
        ("rules: [{name: a, category: B, words: ['a*']}]", r"two before a \*"),
        ("rules: [{name: a, category: B, pattern: '('}]", "a regular expression"),
        ("rules: [{name: a, category: B, amount: {min: 5, max: 1}}]", "0 <= min <= max"),
        ("rules: [{name: a, category: B, amount: {min: .nan}}]", "a number"),
        ("rules: [{name: a, category: B, words: [x], sign: minus}]", "debit or credit"),
        ("rules: [{name: a, category: B, words: [x], confidence: 2}]", "from 0 to 1"),
        (
            "rules: [{name: a, category: B, words: [x]}, {name: a, category: B, words: [y]}]",
            "a name of its own",
        ),
        ("!!python/object/apply:os.system [ls]", "expected YAML"),
        *BAD_FILES,
    ],
)
def test_a_file_that_cannot_be_used_is_a_sentence(text: str, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        rules(text)


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ("{name: b, category: C, words: [tesco express]}", "b: it can never fire: a always matches first"),
        ("{name: b, category: C, words: [carrefour city]}", "b: it can never fire: a always matches first"),
        ("{name: b, category: C, merchant: [tesco]}", "b: it can never fire: a always matches first"),
        ("{name: b, category: C, words: [tesco, aldi]}", 'b: "tesco" decides nothing: a matches first'),
        ("{name: b, category: C, pattern: 'Tesco'}", "b: its pattern asks for T"),
        ("{name: b, category: C, pattern: 'café'}", "b: its pattern asks for é"),
        (
            "{name: b, category: C, words: [aldi], amount: {min: 600}}",
            "b: c takes every text of these amounts first",
        ),
        ("{name: b, category: C, words: [tesco], priority: 60}", None),
        ("{name: b, category: C, words: [tes*]}", None),
        ("{name: b, category: C, pattern: 'tes\\S+'}", None),
        ("{name: b, category: C, words: [aldi], amount: {min: 400}}", None),
    ],
)
def test_rules_that_never_fire_are_named(second: str, problem: str | None) -> None:
    found = lint(
        rules(
            f"""
    rules:
    - {{name: a, category: C, words: [tesco, carrefour*]}}
    - {second}
    - {{name: c, category: D, amount: {{min: 500}}, priority: 55}}
    """
        )
    )
    about_b = [str(finding) for finding in found if finding.rule == "b"]
    assert (about_b == []) if problem is None else any(text.startswith(problem) for text in about_b), about_b


@given(st.text(max_size=80), st.text(max_size=20), st.one_of(st.none(), st.floats()))
def test_rules_always_answer(description: str, merchant: str, amount: float | None) -> None:
    found = SHIPPED.match(Transaction(description=description, merchant=merchant, amount=amount))
    assert found.category in SHIPPED.categories


@given(st.text(max_size=80))
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("PAIEMENT CB 1203 CARREFOUR CITY PARIS 11 CARTE 4978XXXX", "carrefour city paris"),
        ("CARD PAYMENT TO TESCO STORES 3297 ON 12 MAR 2026", "tesco stores"),
        ("AMZN Mktp US*2X4AB1230", "amzn mktp"),
        ("CB", "cb"),
        ("7-ELEVEN 12345", "eleven"),
    ],
)
def test_what_a_model_reads(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_changed_file_is_read_again_and_a_bad_one_leaves_the_old_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    shop = Transaction(description="shop")
    path.write_text("{default: A, rules: [{name: b, category: B, words: [shop]}]}")
    clock = Clock()
    file = RuleFile(path, clock=clock)
    assert file.current().match(shop).category == "B"
    for number, (text, category) in enumerate(
        (
            ("{default: B, rules: [{name: b, category: A, words: [shop]}]}", "A"),
            ("{default: B, rules: [{name: b, category: A, pattern: '('}]}", "A"),
            ("{default: A, rules: [{name: b, category: New, words: [shop]}]}", "A"),
            *((bad, "A") for bad, _ in BAD_FILES),
            ("{default: A, rules: [{name: c, category: B, words: [shop]}]}", "B"),
        )
    ):
        path.write_text(text + " " * number)
        file.current()  # not looked at again within two seconds
        clock.now += 2.1
        assert file.current().match(shop).category == category
    path.unlink()
    clock.now += 2.1
    assert file.current().match(shop).category == "B"


def test_a_start_with_a_bad_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="a file in UTF-8 that can be read"):
        RuleFile(tmp_path / "none.yaml")


def test_no_error_of_reading_escapes_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("{rules: [{name: b, category: B, words: [shop]}]}")
    clock = Clock()
    file = RuleFile(path, clock=clock)

    def fail(path: Path | None) -> None:
        raise MemoryError

    monkeypatch.setattr(rulefile, "read_rules", fail)
    path.write_text("changed")
    clock.now += 2.1
    assert file.current().match(Transaction(description="shop")).category == "B"


@pytest.mark.parametrize(
    ("pattern", "refused"),
    [
        (r"(\w+\s?)+ltd$", True),
        (r"(?:a*)*", True),
        (r"(a|b+)*c", True),
        (r"(a+){2,}", True),
        (r"(a{3,}){9}", True),
        (r"(?=(x+)+y)z", True),
        (r"((a+?)b)*?", True),
        (r"(\w+\s)?ltd$", False),
        (r"\w+\s+\d*", False),
        (r"(ab?){1,9}c+", False),
        (r"(foo|bar)+", False),
    ],
)
def test_a_repeat_inside_a_repeat_is_refused(pattern: str, refused: bool, tmp_path: Path) -> None:
    """The first takes hours on forty letters."""
    file = tmp_path / "rules.yaml"
    file.write_text(f"rules: [{{name: a, category: B, pattern: '{pattern}'}}]")
    linted = CliRunner().invoke(lint_rules, [str(file)])
    assert linted.exit_code == (2 if refused else 0), linted.output
    assert ("inside another repeat" in linted.output) is refused
