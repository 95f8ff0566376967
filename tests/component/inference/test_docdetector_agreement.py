"""The detector's totals are those of the tools that its counting modes are named after, item by item.

The corpora are installed already: the standard library of this Python, for rustdoc small crates that the test
writes. ``make bench`` compares on published crates.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from interrogate.coverage import InterrogateCoverage

from inference_server.predictors.docdetector import pydocstyle, python, rustdoc
from inference_server.predictors.docdetector.counting import count
from inference_server.predictors.docdetector.detector import Weights, judge
from inference_server.predictors.docdetector.files import find
from inference_server.predictors.docdetector.items import Language
from inference_server.predictors.docdetector.modes import Mode
from tests.support.code_pieces import pieces
from tests.support.rust_crates import CRATES, write_crate

RULES = "D100,D101,D102,D103,D104,D105,D106,D107"
# lib2to3 is no longer in newer Pythons; most of its texts are patterns.
LEFT_OUT = shutil.ignore_patterns(
    "site-packages", "test", "tests", "idlelib", "lib2to3", "*.so", "__pycache__"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The standard library without its tests, outside any repository and its .gitignore."""
    corpus = tmp_path_factory.mktemp("corpus") / "library"
    shutil.copytree(sysconfig.get_path("stdlib"), corpus, ignore=LEFT_OUT)
    return corpus


@pytest.mark.takes(seconds=20)
def test_interrogate(library: Path) -> None:
    coverage = InterrogateCoverage([str(library)])
    differences = []
    totals = [0, 0]
    names = coverage.get_filenames_from_paths()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            try:
                theirs = coverage._get_file_coverage(name)
            except (SyntaxError, UnicodeDecodeError):
                continue
            ours = count(Path(name), Mode.INTERROGATE)
            totals[0] += ours.documented
            totals[1] += ours.total
            if (ours.documented, ours.total) != (theirs.covered, theirs.total):
                differences.append((name, ours.documented, ours.total, theirs.covered, theirs.total))
    assert differences == []
    assert totals[1] > 10_000
    assert sorted(map(Path, names)) == sorted(find([library], Mode.INTERROGATE))


def violations(path: Path) -> Counter[tuple[str, int, str]]:
    """What ruff reports: file, line and rule of each undocumented definition."""
    command = [
        *(sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--quiet"),
        *("--select", RULES, "--output-format", "json", str(path)),
    ]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    return Counter((one["filename"], one["location"]["row"], one["code"]) for one in found)


def missing(path: Path) -> Iterator[tuple[str, int, str]]:
    """The same from the detector."""
    text = path.read_text("utf-8-sig")
    tree = python.parse(text)
    for definition, rule in pydocstyle.counted(python.definitions(tree), tree, text, path):
        if not definition.has_docstring:
            yield str(path), definition.line, rule


def test_ruff(library: Path) -> None:
    theirs = violations(library)
    undocumented: Counter[tuple[str, int, str]] = Counter()
    total = 0
    for path in find([library], Mode.RUFF):
        counted = count(path, Mode.RUFF)
        if counted.error:
            assert not any(name == str(path) and rule in RULES for name, _, rule in theirs), path
            continue
        undocumented.update(missing(path))
        total += counted.total - counted.documented
    theirs = Counter({key: number for key, number in theirs.items() if key[2] in RULES})
    assert (undocumented - theirs, theirs - undocumented) == (Counter(), Counter())
    assert total == theirs.total() > 3_000


@pytest.mark.parametrize("name", CRATES)
def test_rustdoc(name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = write_crate(tmp_path / name, CRATES[name].files)
    command = [
        *("cargo", "rustdoc", "--quiet", "--offline", "--"),
        *("-Z", "unstable-options", "--show-coverage", "--output-format", "json"),
    ]
    # The flag is unstable: RUSTC_BOOTSTRAP lets a stable rustdoc take it.
    environment = os.environ | {
        "RUSTC_BOOTSTRAP": "1",
        "CARGO_TARGET_DIR": str(tmp_path_factory.getbasetemp() / "target"),
    }
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = {
        str(root / file): (one["with_docs"], one["total"]) for file, one in json.loads(done.stdout).items()
    }
    ours = {file: (one.documented, one.total) for file, one in rustdoc.count([root]).items()}
    assert ours == theirs
    assert tuple(map(sum, zip(*theirs.values(), strict=True))) == CRATES[name].expected


@pytest.mark.takes(seconds=20)
def test_pieces_cut_at_random_lines(library: Path) -> None:
    """At least 99 % of verdicts are those of the whole file's parse, and a confidence is what it says."""
    right: list[tuple[float, bool]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for code, truth in pieces(library, Language.PYTHON, 20, each=16):
            answer = judge(code, Language.PYTHON, Weights())
            right.append((answer.confidence, answer.has_documentation == truth))
    assert len(right) > 2_000
    assert sum(is_right for _, is_right in right) / len(right) >= 0.99
    for low, high in ((0.85, 0.95), (0.95, 1.0)):
        some = [one for one in right if low <= one[0] < high]
        said = sum(confidence for confidence, _ in some) / len(some)
        assert abs(sum(is_right for _, is_right in some) / len(some) - said) <= 0.03, (low, len(some), said)
