"""Every invalid manifest is refused offline with a sentence that names the field.

A real API server gets the same files in tests/cluster/operator/test_api_scenario_34_invalid_manifests.py.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelrollout.api.manifest import Problem, manifest_problems

DIRECTORY = Path(__file__).parents[1] / "data" / "invalid"
FILES = sorted(DIRECTORY.glob("*.yaml"))
GOOD: dict[str, Any] = {
    "apiVersion": "modelrollout.dev/v1alpha1",
    "kind": "ModelRollout",
    "metadata": {"name": "emotion"},
    "spec": {"service": "emotion", "candidate": {"deployment": "emotion-2-4-2"}},
}


def _header(text: str, name: str) -> str:
    match = re.search(rf"^# {name}: (.*)$", text, re.MULTILINE)
    assert match, f"the file must start with a comment `# {name}: ...`"
    return match[1]


def test_there_are_at_least_sixty_that_the_api_server_refuses() -> None:
    refused = [file for file in FILES if "# server: accepts it" not in file.read_text(encoding="utf-8")]
    assert len(refused) >= 60


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_refused_with_a_sentence_that_names_the_field(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    problems = manifest_problems(yaml.safe_load(text))
    field, says = _header(text, "field"), _header(text, "says")
    assert any(problem.path == field and says in problem.message for problem in problems), [
        str(problem) for problem in problems
    ]


def test_a_good_manifest_has_no_problem() -> None:
    assert manifest_problems(GOOD) == []


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (None, "(document): must be an object, not NoneType"),
        ([GOOD], "(document): must be an object, not list"),
        ({**GOOD, "kind": "Rollout"}, "kind: must be ModelRollout, not 'Rollout'"),
        ({**GOOD, "apiVersion": "v1"}, "apiVersion: must be modelrollout.dev/v1alpha1, not 'v1'"),
        ({**GOOD, "metadata": {}}, "metadata.name: must be given"),
        ({**GOOD, "metadata": None}, "metadata.name: must be given"),
        ({**GOOD, "spec": None}, "spec: must be an object"),
        ({**GOOD, "spec": "x"}, "spec: must be an object, not 'x'"),
        ({**GOOD, "spec": {**GOOD["spec"], "steps": {}}}, "spec.steps: must be a list"),
    ],
)
def test_a_wrong_document_is_named(document: object, problem: str) -> None:
    assert problem in [str(found) for found in manifest_problems(document)]


def test_every_broken_rule_is_said_at_once() -> None:
    steps = [{"weight": 20, "duration": "1m"}, {"weight": 10, "duration": "1m"}]
    criterion = {"name": "a", "preset": "errorRate", "max": "200ms", "samplesQuery": "${x}"}
    spec = {**GOOD["spec"], "steps": steps, "criteria": [criterion]}
    problems = manifest_problems({**GOOD, "spec": spec})
    assert [problem.path for problem in problems] == [
        "spec.criteria[0].samplesQuery", "spec.criteria[0].samplesQuery", "spec.criteria[0].preset",
    ]  # fmt: skip
    spec["criteria"] = []
    assert manifest_problems({**GOOD, "spec": spec}) == [
        Problem(path="spec.steps", message="weights must rise from step to step"),
        Problem(path="spec.steps", message="the last step must have weight 100"),
    ]
