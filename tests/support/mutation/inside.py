"""What runs in the workspace, beside mutmut: make the mutants, choose some, and tell what each changes.

mutmut reads its settings from the current folder when it is imported, so this is a process of its own.
"""

from __future__ import annotations

import difflib
import json
import random
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mutmut.__main__ import copy_also_copy_files, copy_src_dir, create_mutants, setup_source_paths
from mutmut.configuration import config
from mutmut.mutation.data import MutantLineSpans, SourceFileMutationData
from mutmut.utils.file_utils import walk_mutatable_files

from tests.support.mutation.wording import only_wording

SKIPPED: Final = 34
"""mutmut's code for a mutant that is not run."""
NUMBER: Final = re.compile(r"__mutmut_(\d+|orig)\b")


def make(children: int) -> None:
    """Make all mutants."""
    Path("mutants").mkdir()
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    create_mutants(children)


def by_package() -> dict[str, list[tuple[str, Path]]]:
    """Names of the mutants and where they are, by package."""
    found: dict[str, list[tuple[str, Path]]] = {}
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        package = path.relative_to("src/modelrollout").parts[0]
        found.setdefault(package, []).extend((name, path) for name in data.exit_code_by_key)
    return found


def change(name: str, path: Path) -> tuple[str, str]:
    """The lines that a mutant takes out and puts in."""
    spans = MutantLineSpans.load(path)
    assert spans is not None, (
        f"expected mutmut's index of lines for {path}; delete the workspace and run again"
    )
    mangled = name.rpartition(".")[2]
    original = f"{mangled.partition('__mutmut_')[0]}__mutmut_orig"
    before, after = (NUMBER.sub("", text) for text in spans.read_function_sources([original, mangled]))
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    gone, come = (" ".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return gone, come


def chosen(every: list[tuple[str, Path]], sample: int, seed: int) -> Iterator[Mapping[str, str]]:
    """Mutants that change more than wording: all, in order, or a number of them at random."""
    if sample:
        every = sorted(every)
        random.Random(seed).shuffle(every)
    count = 0
    for name, path in every:
        gone, come = change(name, path)
        if only_wording(gone, come):
            continue
        yield {"name": name, "path": str(path), "gone": gone, "come": come}
        count += 1
        if sample and count >= sample:
            return


def skip_others(names: set[str]) -> None:
    """Mark all other mutants as done, so that mutmut does not run them."""
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        data.exit_code_by_key = {name: None if name in names else SKIPPED for name in data.exit_code_by_key}
        data.save()


def main() -> None:
    """Make the mutants and write those that are to be run to `chosen.json`."""
    options = json.loads(sys.argv[1])
    config()
    make(options["workers"])
    found = {
        package: list(
            chosen(
                [each for each in every if re.search(options["only"], each[0])],
                options["samples"].get(package, 0),
                options["seed"],
            )
        )
        for package, every in by_package().items()
    }
    skip_others({entry["name"] for entries in found.values() for entry in entries})
    Path("chosen.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
