"""Everything the API server and the operator would say about a file, offline and with line numbers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from modelrollout.api.constants import GROUP, KIND
from modelrollout.api.features import unsupported
from modelrollout.api.manifest import manifest_problems
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.cli.client import dumps
from modelrollout.cli.session import say
from modelrollout.prometheus import QueryContext, build_rollout

PART = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
REPEATS = re.compile(r"\[(\d+)\] repeats")


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """Something wrong: line (from 1), the field, and what to do about it."""

    line: int
    path: str
    message: str


def lint_text(text: str, *, features: bool = True) -> tuple[int, list[Finding]]:
    """Return how many ModelRollouts a YAML text holds, and what is wrong with them, in order of lines.

    `features`: also what this version of the operator does not do yet.
    """
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        return 0, [_not_yaml(error)]
    findings: list[Finding] = []
    count = 0
    for node, document in zip(nodes, documents, strict=True):
        if node is None or not _is_ours(document):
            continue
        count += 1
        findings += _repeated_keys(node, "", set())
        findings += [
            Finding(line=line_of(node, _culprit(path, message)), path=path, message=message)
            for path, message in _problems(document, features=features)
        ]
    return count, sorted(findings)


def _not_yaml(error: yaml.YAMLError) -> Finding:
    if isinstance(error, yaml.MarkedYAMLError):
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return Finding(line=line, path="(file)", message=f"is not YAML: {error.problem or error.context}")
    return Finding(line=1, path="(file)", message=f"is not YAML: {error}")


def _repeated_keys(node: yaml.Node, path: str, visited: set[int]) -> list[Finding]:
    """Return fields that are given twice, of which YAML readers silently take the last."""
    found: list[Finding] = []
    if id(node) in visited:
        return found  # an alias: it may contain itself
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            place = f"{path}.{key.value}".lstrip(".")
            if key.value in seen:
                line = int(key.start_mark.line) + 1
                found.append(Finding(line=line, path=place, message="is given twice; remove one"))
            seen.add(key.value)
            found += _repeated_keys(value, place, visited)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            found += _repeated_keys(item, f"{path}[{index}]", visited)
    return found


def _is_ours(document: Any) -> bool:
    return isinstance(document, dict) and (
        document.get("kind") == KIND or str(document.get("apiVersion", "")).startswith(f"{GROUP}/")
    )


def _problems(document: dict[str, Any], *, features: bool) -> Iterator[tuple[str, str]]:
    problems = manifest_problems(document)
    yield from ((problem.path, problem.message.removeprefix(f"{problem.path} ")) for problem in problems)
    if problems:
        return
    spec = ModelRolloutSpec.model_validate(document["spec"])
    for sentence in unsupported(spec) if features else ():
        path = sentence.split(" ", 1)[0].rstrip(":")
        yield path.replace("[]", ""), sentence.removeprefix(f"{path} ")
    context = QueryContext(namespace="namespace", rollout="rollout", candidate="candidate", stable="stable")
    queries = build_rollout("lint", spec.prometheus.name, spec.criteria, context)
    for index, criterion in enumerate(spec.criteria):
        if criterion.name in queries.problems:
            yield f"spec.criteria[{index}].query", queries.problems[criterion.name]


def _culprit(path: str, message: str) -> str:
    """Return the item that a list's problem names: `names must be unique, but [1] repeats a`."""
    repeated = REPEATS.search(message)
    return f"{path}[{repeated[1]}]" if repeated else path


def line_of(node: yaml.Node, path: str) -> int:
    """Return the line of the field at a path such as `spec.steps[0].weight`, or of the nearest above it."""
    mark = node.start_mark
    for name, index in PART.findall(path):
        if isinstance(node, yaml.MappingNode) and name:
            found = next(((k, v) for k, v in node.value if k.value == name), None)
            if found is None:
                break
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, yaml.SequenceNode) and index and int(index) < len(node.value):
            node = node.value[int(index)]
            mark = node.start_mark
        else:
            break
    return int(mark.line) + 1


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option("-o", "--output", "form", type=click.Choice(["json"]), help="Print findings as JSON.")
def lint(files: tuple[str, ...], form: str | None) -> None:
    """Check manifests offline: all that the API server and the operator would say, with line numbers."""
    found: list[tuple[str, Finding]] = []
    seen = 0
    for name in files:
        count, findings = lint_text(read_text(name))
        seen += count
        found += [(name, finding) for finding in findings]
    if form:
        click.echo(dumps([{"file": name, **asdict(finding)} for name, finding in found], form))
    else:
        for name, finding in found:
            say(f"{name}:{finding.line}: {finding.path}: {finding.message}")
    if found:
        raise SystemExit(1)
    if not seen:
        raise click.ClickException(f"expected a ModelRollout in {', '.join(files)}, found none")
    if not form:
        click.echo(f"{seen} ModelRollout{'s' if seen > 1 else ''}, nothing to complain about.")


def read_text(name: str) -> str:
    """Return the text of a file, or of standard input for `-`; a click error if it cannot be read."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{name} cannot be read as text: {error}") from error
