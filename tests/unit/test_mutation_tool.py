"""The tool for mutation testing: what it runs, what it leaves out, and how it counts."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.support.mutation import score
from tests.support.mutation.score import Mutant
from tests.support.mutation.wording import only_wording
from tests.support.mutation.workspace import PACKAGES, ROOT, Workspace


@pytest.mark.parametrize(
    ("gone", "come", "wording"),
    [
        ('say("a b", x)', 'say("XXa bXX", x)', True),
        ('say("a b", x)', 'say("A B", x)', True),
        ('get("ab")', 'get("XXabXX")', False),
        ('say("a b", x)', 'say("A B", None)', False),
        ('say("a b", "c")', 'say("a b", )', False),
        ("a < b", "a <= b", False),
        ('f("""it\'s"""", "a b")', 'f("a b")', False),
    ],
)
def test_only_the_words_of_a_sentence_are_wording(gone: str, come: str, wording: bool) -> None:
    assert only_wording(gone, come) is wording


def mutant(code: int | None, name: str = "modelrollout.decision.any.x_f__mutmut_1") -> Mutant:
    return Mutant(name, "a < b", "a <= b", code)


@pytest.mark.parametrize(
    ("code", "noticed"),
    [(1, True), (3, True), (-24, True), (36, True), (0, False), (33, False), (None, False)],
)
def test_a_mutant_is_noticed_when_a_test_fails_or_never_ends(code: int | None, noticed: bool) -> None:
    assert mutant(code).noticed is noticed


def test_a_mutant_is_known_by_its_function_whatever_its_module_is_called() -> None:
    assert mutant(0).function == "f"
    assert mutant(0, "modelrollout.cluster.any.xǁSomeǁmethod__mutmut_12").function == "Some.method"


def test_the_score_leaves_out_what_is_equivalent_and_lists_what_survives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    equal = frozenset({("Same.method", "a < b", "a <= b")})
    monkeypatch.setattr(score, "known_equivalent", lambda: equal)
    same = mutant(0, "modelrollout.decision.any.xǁSameǁmethod__mutmut_2")
    result = score.score("decision", [*[mutant(1)] * 9, mutant(0), same], sampled=True)
    assert (result.killed, result.total, result.equivalent) == (9, 10, 1)
    assert result.passed and "90.0% of 10 mutants noticed (95 % confidence: 59.6% to 98.2%)" in str(result)
    assert not score.score("decision", [*[mutant(1)] * 8, mutant(0)], sampled=False).passed
    text = score.listing([result])
    assert "x_f__mutmut_1 (exit code 0)\n  - a < b\n  + a <= b" in text and "Same" not in text


def test_every_equivalent_mutant_has_its_reason() -> None:
    for entry in tomllib.loads(score.EQUIVALENT.read_text()).get("mutant", ()):
        assert set(entry) == {"function", "gone", "come", "why"} and entry["why"]


def test_the_workspace_runs_the_unit_tests_of_its_packages_on_a_copy(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work", ("decision",))
    workspace.make()
    settings = tomllib.loads((workspace.path / "pyproject.toml").read_text())["tool"]["mutmut"]
    assert settings["only_mutate"] == ["src/modelrollout/decision/*"]
    assert all((workspace.path / "src/modelrollout" / package).is_dir() for package in PACKAGES)
    tests = {Path(name).name for name in settings["pytest_add_cli_args_test_selection"]}
    assert "test_decision_replicas.py" in tests and "test_simulation.py" not in tests
    assert tests <= {path.name for path in (ROOT / "tests/unit").glob("test_*.py")}
