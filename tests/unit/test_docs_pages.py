"""The user guide: links lead somewhere, every block is tested, what can be checked offline is right."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from modelrollout.api.conditions import Reason
from modelrollout.api.spec import ModelRolloutSpec
from tests.support.pages import DOCS, LINK, PAGES, ROOT, Block, all_blocks, anchors

YAML_MARKS = {"apply", "criterion", "spec", "values", "prometheus", "example"}
BASE: dict[str, Any] = {
    "replicas": 10,
    "service": "emotion",
    "stable": {"deployment": "emotion-1"},
    "candidate": {"deployment": "emotion-2"},
}
BASELINE = {"baseline": {"window": "1h"}}


def marked(language: str, mark: str) -> list[Any]:
    """Blocks with a mark, as parameters."""
    return [pytest.param(b, id=str(b)) for b in all_blocks(language) if b.mark(mark) is not None]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page: Any) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT)
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def test_every_block_says_how_it_is_tested() -> None:
    languages = {"sh", "yaml", "python", "mermaid", "console"}
    for page in PAGES:
        assert page.read_text().count("```") % 2 == 0, page
    for block in (b for language in ("sh", "python", "yaml", "") for b in all_blocks(language)):
        assert block.language in languages, f"{block}: a block without a language"
        assert len(block.marks) == 1, f"{block}: expected one mark, seen {block.marks}"
        (mark,) = block.marks
        allowed = {"sh": {"run", "by"}, "python": {"run"}, "yaml": YAML_MARKS}[block.language]
        assert mark.partition("=")[0] in allowed, block


def test_tests_that_blocks_rely_on_exist() -> None:
    defined = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for block in all_blocks("sh"):
        name = block.mark("by")
        assert name is None or f"def {name}(" in defined, f"{block}: no test is called {name}"


@pytest.mark.parametrize("block", marked("yaml", "criterion"))
def test_criteria_are_valid(block: Block) -> None:
    ModelRolloutSpec.model_validate({**BASE, **BASELINE, "criteria": [yaml.safe_load(block.text)]})


@pytest.mark.parametrize("block", marked("yaml", "spec"))
def test_parts_of_a_spec_are_valid(block: Block) -> None:
    ModelRolloutSpec.model_validate({**BASE, **yaml.safe_load(block.text)})


@pytest.mark.parametrize(
    "block", [*marked("yaml", "apply"), *marked("yaml", "example"), *marked("yaml", "prometheus")]
)
def test_yaml_can_be_read(block: Block) -> None:
    for document in yaml.safe_load_all(block.text):
        assert isinstance(document, dict)
        if document.get("kind") == "ModelRollout":
            ModelRolloutSpec.model_validate(document["spec"])


@pytest.mark.parametrize("block", marked("python", "run"))
def test_python_runs(block: Block) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block.text], capture_output=True, text=True, timeout=60, check=True
    )
    assert "model_requests_total" in done.stdout
    assert 'code="503"' in done.stdout


def test_the_runbook_explains_every_reason() -> None:
    """In the first column of a table; which need a person is for the page to say."""
    chapter = (DOCS / "runbook.md").read_text().split("\n## Reasons\n")[1].split("\n## ")[0]
    explained = {
        word for row in re.findall(r"^\| ([^|]+)", chapter, re.MULTILINE) for word in re.findall(r"\w+", row)
    }
    assert not [str(reason) for reason in Reason if reason not in explained]


def test_pages_are_reached_from_the_readme_or_from_each_other() -> None:
    reached = set()
    for page in [ROOT / "README.md", *PAGES]:
        reached |= {
            (page.parent / link.partition("#")[0]).resolve() for link in LINK.findall(page.read_text())
        }
    lost = [page for page in PAGES if page not in reached and page.parent not in reached]
    assert not lost
