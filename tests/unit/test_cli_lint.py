"""`lint`: the right line for everything that is wrong, offline."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelrollout.cli.lint import lint_text
from modelrollout.cli.main import cli

DATA = Path(__file__).parents[1] / "data" / "invalid"
FILES = sorted(DATA.glob("*.yaml"))
SAMPLES = Path(__file__).parents[2] / "samples"
GOOD = """\
apiVersion: modelrollout.dev/v1alpha1
kind: ModelRollout
metadata: {name: emotion}
spec:
  service: emotion
  candidate: {deployment: emotion-2}
"""


def lines_of(text: str, path: str) -> set[int]:
    """Lines that may be named for a field, found by its indentation alone: its own, else its parents'."""
    numbered = [
        (number, line) for number, line in enumerate(text.splitlines(), 1) if not line.startswith("#")
    ]
    first, last, depth = numbered[0][0], numbered[-1][0], -1
    keys = re.findall(r"[^.\[\]]+", re.sub(r"\[(\d+)\]", r".\1", path))
    found = {first}
    for key in keys:
        inside = [(n, line) for n, line in numbered if first <= n <= last]
        if key.isdigit():
            dashes = [
                (n, len(line) - len(line.lstrip()))
                for n, line in inside
                if n > first and line.lstrip().startswith("- ")
            ]
            level = min((indent for _, indent in dashes), default=0)
            starts = [n for n, indent in dashes if indent == level]
            if int(key) >= len(starts):
                return found
            first = starts[int(key)]
            last = starts[int(key) + 1] - 1 if int(key) + 1 < len(starts) else last
            depth = level
        else:
            hit = next(((n, line) for n, line in inside if re.match(rf"[\s-]*{re.escape(key)}:", line)), None)
            if hit is None:
                return found
            first, depth = hit[0], len(hit[1]) - len(hit[1].lstrip(" -"))
            after = [n for n, line in inside if n > first and len(line) - len(line.lstrip(" -")) <= depth]
            last = min(after, default=last + 1) - 1
        found = {first}
    return found


def header(text: str, name: str) -> str:
    match = re.search(rf"^# {name}: (.*)$", text, re.MULTILINE)
    assert match
    return match[1]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_invalid_file_is_reported_at_the_line_of_its_field(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    field = header(text, "field")
    count, findings = lint_text(text)
    assert count == 1
    mine = [finding for finding in findings if finding.path == field]
    assert mine, findings
    allowed = lines_of(text, field)
    repeated = re.search(r"\[(\d+)\] repeats", mine[0].message)
    if repeated:
        allowed = lines_of(text, f"{field}[{repeated[1]}]")
    assert {finding.line for finding in mine} <= allowed, (mine, allowed)


def test_a_second_document_is_reported_with_its_lines_in_the_file() -> None:
    bad = GOOD.replace("service: emotion", "service: Emotion")
    count, findings = lint_text(f"{GOOD}---\nkind: Service\napiVersion: v1\n---\n{bad}")
    assert count == 2
    assert [(finding.line, finding.path) for finding in findings] == [(15, "spec.service")]


def test_a_query_that_cannot_be_built_is_reported() -> None:
    bad = GOOD + '  criteria:\n  - name: a\n    max: 1\n    query: |\n      up{pod=~"${candidatePod}"}\n'
    _, findings = lint_text(bad)
    assert [finding.path for finding in findings] == ["spec.criteria[0].query"]
    assert findings[0].line == 10


def test_a_field_given_twice_is_reported() -> None:
    _, findings = lint_text(GOOD + "  service: emotion\n")
    assert [(finding.line, finding.path) for finding in findings] == [(7, "spec.service")]


def test_a_document_that_contains_itself_is_read() -> None:
    _, findings = lint_text("kind: ModelRollout\nspec: &spec\n  stable: *spec\n")
    assert "spec.candidate" in {finding.path for finding in findings}


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "a: \x00", "\tx", "a: !!python/object:os.system x"])
def test_what_is_not_yaml_is_reported_with_its_line(text: str) -> None:
    _, findings = lint_text(f"# one\n{text}\n")
    assert [finding.path for finding in findings] == ["(file)"]
    assert findings[0].line in (1, 2, 3)


def test_the_command_ends_with_1_and_prints_file_line_field(tmp_path: Path) -> None:
    bad = DATA / "04-replicas-zero.yaml"
    result = CliRunner().invoke(cli, ["lint", str(bad)])
    assert result.exit_code == 1
    assert result.output == f"{bad}:9: spec.replicas: must be at least 1, not 0\n"


def test_the_command_prints_json() -> None:
    bad = DATA / "04-replicas-zero.yaml"
    result = CliRunner().invoke(cli, ["lint", "-o", "json", str(bad)])
    assert result.exit_code == 1
    assert json.loads(result.output) == [
        {"file": str(bad), "line": 9, "path": "spec.replicas", "message": "must be at least 1, not 0"}
    ]


def test_good_files_end_with_0(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text(GOOD)
    result = CliRunner().invoke(cli, ["lint", str(good), str(SAMPLES / "01-minimal.yaml")])
    assert (result.exit_code, result.output) == (0, "2 ModelRollouts, nothing to complain about.\n")
    result = CliRunner().invoke(cli, ["lint", "-"], input=GOOD)
    assert (result.exit_code, result.output) == (0, "1 ModelRollout, nothing to complain about.\n")


def test_a_file_without_a_rollout_is_an_error(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("kind: Service\n")
    result = CliRunner().invoke(cli, ["lint", str(other)])
    assert result.exit_code == 1
    assert "expected a ModelRollout" in result.output


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(b"\xff\xfe\x00")
    result = CliRunner().invoke(cli, ["lint", str(other)])
    assert result.exit_code == 1
    assert "cannot be read as text" in result.output


def test_a_missing_file_is_a_wrong_command_line() -> None:
    assert CliRunner().invoke(cli, ["lint", "there-is-no-such-file.yaml"]).exit_code == 2
