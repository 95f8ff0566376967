"""What became of the mutants, as scores and as a list of those that no test noticed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelrollout.decision.wilson import wilson_bounds

KILLED: Final = frozenset({1, 3})
"""Exit codes of pytest: a test failed, or the mutant broke pytest itself."""
ENDLESS: Final = frozenset({36, 24, -24, 152, 255, -9})
"""Ended for taking too long, which a person would notice, too."""
UNTESTED: Final = frozenset({5, 33})
GOALS: Final[Mapping[str, float]] = {"decision": 0.90, "cluster": 0.80, "prometheus": 0.80, "traffic": 0.80}
EQUIVALENT: Final = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True)
class Mutant:
    """One mutant that was run."""

    name: str
    gone: str
    come: str
    code: int | None

    @property
    def function(self) -> str:
        """The function that it changes, without its module: modules are renamed."""
        mangled = self.name.rpartition(".")[2].partition("__mutmut_")[0]
        return mangled.removeprefix("xǁ").removeprefix("x_").replace("ǁ", ".")

    @property
    def noticed(self) -> bool:
        """Whether a test failed or never ended."""
        return self.code in KILLED or self.code in ENDLESS


@dataclass(frozen=True)
class Score:
    """The result of one package."""

    package: str
    killed: int
    total: int
    equivalent: int
    survivors: tuple[Mutant, ...]
    sampled: bool

    @property
    def share(self) -> float:
        """Share of the mutants that were noticed, of those that change what the code does."""
        return self.killed / self.total if self.total else 1.0

    @property
    def passed(self) -> bool:
        """Whether the goal is met."""
        return self.share >= GOALS[self.package]

    def __str__(self) -> str:
        text = f"{self.package}: {self.share:.1%} of {self.total} mutants noticed"
        if self.sampled:
            low, high = wilson_bounds(self.share, self.total, 0.975)  # each bound alone
            text += f" (95 % confidence: {low:.1%} to {high:.1%})"
        text += f", {self.equivalent} equivalent; the goal is {GOALS[self.package]:.0%}"
        return text + (" ✓" if self.passed else ": MISSED")


def known_equivalent() -> frozenset[tuple[str, str, str]]:
    """Function, lines gone and lines come of changes that make no difference."""
    entries = tomllib.loads(EQUIVALENT.read_text()).get("mutant", ())
    return frozenset((entry["function"], entry["gone"], entry["come"]) for entry in entries)


def read(workspace: Path) -> dict[str, list[Mutant]]:
    """What became of every mutant that was chosen, by package."""
    results: dict[str, list[Mutant]] = {}
    codes: dict[str, int | None] = {}
    for package, entries in json.loads((workspace / "chosen.json").read_text()).items():
        for path in {entry["path"] for entry in entries}:
            meta = json.loads((workspace / "mutants" / f"{path}.meta").read_text())
            codes |= meta["exit_code_by_key"]
        results[package] = [
            Mutant(entry["name"], entry["gone"], entry["come"], codes[entry["name"]]) for entry in entries
        ]
    return results


def score(package: str, mutants: Sequence[Mutant], *, sampled: bool) -> Score:
    """The score of one package."""
    equal = known_equivalent()
    left = [each for each in mutants if (each.function, each.gone, each.come) not in equal]
    alive = tuple(each for each in left if not each.noticed)
    count = len(left) - len(alive)
    return Score(package, count, len(left), len(mutants) - len(left), alive, sampled)


def listing(scores: Sequence[Score]) -> str:
    """Every mutant that no test noticed, to be read and mended."""
    lines = []
    for each in scores:
        lines.append(f"# {each}")
        for mutant in each.survivors:
            why = "no test runs it" if mutant.code in UNTESTED else f"exit code {mutant.code}"
            lines += [f"{mutant.name} ({why})", f"  - {mutant.gone}", f"  + {mutant.come}"]
    return "\n".join(lines) + "\n"
