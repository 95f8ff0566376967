"""The user guide as tests read it: pages, links, and fenced blocks with what their first line says.

The words after the language of a block say how it is tested:

* `sh run`: run by bash, in order, against a cluster with the operator; `sh by=NAME`: the test NAME does it
* `python run`: run by itself
* `yaml apply`: accepted by an API server; `yaml criterion`, `yaml spec`: parts of a ModelRollout's spec
* `yaml values=CHART`: values of a chart; `yaml prometheus`: a configuration of Prometheus
* `yaml example`: another tool's; only read
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *(
            DOCS / f"{name}.md"
            for name in ("quickstart", "concepts", "runbook", "migration", "security", "comparison")
        ),
        *(DOCS / "howto").glob("*.md"),
    ]
)
FENCE = re.compile(r"^```(\S*)[ ]?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, its language, its marks, its text."""

    page: Path
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(DOCS)}:{self.line}"

    def mark(self, name: str) -> str | None:
        """The value of a mark `name=value`, an empty text for a plain `name`, None without it."""
        for mark in self.marks:
            key, _, value = mark.partition("=")
            if key == name:
                return value
        return None


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found[1], tuple(found[2].split()), found[3])


def all_blocks(language: str) -> list[Block]:
    """The blocks of one language on all pages."""
    return [block for page in PAGES for block in blocks(page) if block.language == language]


def anchors(page: Path) -> set[str]:
    """What a link can point to after `#`, as GitHub makes it of headings."""
    outside = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.+)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
