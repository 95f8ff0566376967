"""``inference-server detect``: how much of a tree is documented."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from inference_server.predictors.docdetector.counting import count
from inference_server.predictors.docdetector.files import find
from inference_server.predictors.docdetector.items import Count
from inference_server.predictors.docdetector.modes import Mode

MOST_WORKERS: Final = 8


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.AST.value,
    show_default=True,
    help="How to count: every definition of the syntax tree, or exactly as a known tool does.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.option("--items", is_flag=True, help="Name every item (with --json), or every undocumented one.")
@click.option(
    "--fail-under", type=click.FloatRange(0, 100), help="Exit with 1 if less per cent is documented."
)
@click.option(
    "--gitignore/--no-gitignore",
    default=None,
    help="Whether to obey .gitignore files; by default as the tool of the mode does (ast does).",
)
@click.option(
    "--features", default="", help="Features of crates, by comma, beside the default ones (mode rustdoc)."
)
@click.option("--all-features", is_flag=True, help="Count crates with all their features (mode rustdoc).")
@click.option("--no-default-features", is_flag=True, help="Leave out the default features (mode rustdoc).")
@click.option("--cfg", multiple=True, help="A further condition, such as docsrs (mode rustdoc).")
@click.option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    default=1,
    show_default=True,
    help="Processes that count.",
)
def detect(
    paths: tuple[Path, ...], mode: str, as_json: bool, items: bool, fail_under: float | None, **more: Any
) -> None:
    """Count which modules, classes, functions and other items below PATHS are documented.

    Python and Rust. A file that cannot be read or parsed is named and counts as nothing. Exit codes: 0,
    1 under --fail-under, 2 for wrong arguments.
    """
    chosen = Mode(mode)
    counts = _crates(paths, more) if chosen is Mode.RUSTDOC else _files(paths, chosen, items, more)
    documented = sum(one.documented for one in counts.values())
    total = sum(one.total for one in counts.values())
    if as_json:
        click.echo(json.dumps(_document(counts, documented, total, items=items)))
    else:
        for line in _table(counts, documented, total, items=items):
            # A name that is no UTF-8 holds halves of surrogate pairs, which no terminal takes.
            click.echo(line.encode(errors="backslashreplace").decode())
    if fail_under is not None and _percent(documented, total) < fail_under:
        click.echo(
            f"{_percent(documented, total):.1f} % is documented; --fail-under asks for {fail_under:g} %.",
            err=True,
        )
        sys.exit(1)


def _files(paths: tuple[Path, ...], mode: Mode, items: bool, more: Mapping[str, Any]) -> dict[str, Count]:
    # Syntax trees hold no cycles: the collector would only walk them again and again.
    gc.disable()
    chosen = list(find(paths, mode, gitignore=more["gitignore"]))
    with click.progressbar(
        _counted(chosen, partial(count, mode=mode, items=items), more["workers"]),
        length=len(chosen),
        label="Counting",
        file=sys.stderr,
    ) as progress:
        return dict(progress)


def _counted(
    chosen: list[Path], counter: Callable[[Path], Count], workers: int
) -> Iterator[tuple[str, Count]]:
    if workers == 1:
        for path in chosen:
            yield str(path), counter(path)
        return
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415 - 4 MB that one process does not need

    with ProcessPoolExecutor(workers, initializer=gc.disable) as pool:
        yield from zip(map(str, chosen), pool.map(counter, chosen, chunksize=16), strict=True)


def _crates(paths: tuple[Path, ...], more: Mapping[str, Any]) -> dict[str, Count]:
    from inference_server.predictors.docdetector import rustdoc  # noqa: PLC0415 - only this mode needs it

    asked = {name.strip() for name in more["features"].split(",") if name.strip()}
    if more["all_features"]:
        asked.add("*")
    if not more["no_default_features"]:
        asked.add("default")
    return rustdoc.count(paths, frozenset(asked), more["cfg"])


def _percent(documented: int, total: int) -> float:
    return 100 * documented / total if total else 100.0


def _document(counts: Mapping[str, Count], documented: int, total: int, *, items: bool) -> dict[str, Any]:
    files: list[dict[str, Any]] = []
    for path, one in counts.items():
        entry: dict[str, Any] = {"path": path, "documented": one.documented, "total": one.total}
        if one.error:
            entry["error"] = one.error
        if items:
            entry["items"] = [
                {
                    "name": item.name,
                    "kind": item.kind,
                    "line": item.line,
                    "end_line": item.end_line,
                    "documented": item.documented,
                }
                for item in one.items
            ]
        files.append(entry)
    return {"documented": documented, "total": total, "files": files}


def _table(counts: Mapping[str, Count], documented: int, total: int, *, items: bool) -> Iterator[str]:
    for path, one in counts.items():
        if one.error:
            yield f"{path}: not counted: {one.error}"
        elif one.total:
            yield f"{path}: {one.documented} of {one.total}, {_percent(one.documented, one.total):.1f} %"
        if items:
            for item in one.items:
                if not item.documented:
                    where = f"line {item.line}: " if item.line else ""
                    yield f"    {where}{item.kind} {item.name or '(the file)'} is not documented"
    yield f"{documented} of {total} documented, {_percent(documented, total):.1f} %"
