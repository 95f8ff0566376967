"""``inference-server registry``: the runs of a registry, and which of them is ``latest``.

Exit codes: 0 done, 1 refused or something is wrong with a run, 2 wrong usage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from inference_server.artifacts import ArtifactError, load_manifest
from inference_server.runstore import RegistryError, RunStore


@click.group()
def registry() -> None:
    """List, verify and exchange the runs of a registry, of any kind of predictor."""


def _registry(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--registry",
        "root",
        envvar="INFERENCE_REGISTRY",
        type=click.Path(file_okay=False, path_type=Path),
        required=True,
        help="Its directory [$INFERENCE_REGISTRY].",
    )(command)


def _say(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=1))


@registry.command("list")
@_registry
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_runs(root: Path, as_json: bool) -> None:
    """Every run, the newest first; * is latest."""
    runs = RunStore(root).runs()
    if as_json:
        _say([run.to_json() for run in runs])
        return
    for run in runs:
        fields = run.to_json()
        score = fields.get("val_f1_macro")
        click.echo(
            f"{'*' if run.latest else ' '} {run.run_id:<16} {fields.get('kind', '?'):<12} {run.made_at} "
            f"{'' if score is None else f'macro-F1 {score:.3f}'} {fields.get('problem', '')}".rstrip()
        )


@registry.command()
@_registry
@click.argument("run_id", required=False)
def show(root: Path, run_id: str | None) -> None:
    """Print the manifest of a run (by default latest) and the history of swaps, as JSON."""
    store = RunStore(root)
    try:
        name = run_id or store.latest()
        if name is None:
            raise RegistryError(
                f"{root}: expected latest to name a run, but there is none. Run registry swap."
            )
        manifest = load_manifest(store.path(name))
    except (RegistryError, ArtifactError) as error:
        raise click.ClickException(str(error)) from error
    body = {
        "run_id": name,
        "latest": store.latest() == name,
        "kind": manifest.kind,
        "labels": manifest.labels,
        "metrics": manifest.metrics,
        "config": manifest.config,
        "versions": manifest.versions,
        "files": manifest.files,
        "history": store.history(),
    }
    _say(body)


@registry.command()
@_registry
@click.argument("run_id")
def swap(root: Path, run_id: str) -> None:
    """Let latest name another run, after its files were verified. Servers load it at their next reload."""
    try:
        before = RunStore(root).swap(run_id)
    except (RegistryError, ArtifactError) as error:
        raise click.ClickException(f"{error} latest was not exchanged.") from error
    _say({"latest": run_id, "before": before})


@registry.command()
@_registry
@click.option("--keep", type=click.IntRange(1), default=10, show_default=True, help="How many to keep.")
def prune(root: Path, keep: int) -> None:
    """Delete the oldest runs; never latest and the run before it."""
    try:
        _say({"deleted": RunStore(root).prune(keep)})
    except RegistryError as error:
        raise click.ClickException(str(error)) from error


@registry.command()
@_registry
@click.argument("run_id", required=False)
def verify(root: Path, run_id: str | None) -> None:
    """Compare every file of a run (by default of all) with its digest."""
    store = RunStore(root)
    problems = {}
    try:
        names = [run_id] if run_id else [run.run_id for run in store.runs()]
        for name in names:
            try:
                load_manifest(store.path(name))
            except ArtifactError as error:
                problems[name] = str(error)
    except RegistryError as error:
        raise click.ClickException(str(error)) from error
    _say({"verified": len(names), "problems": problems})
    sys.exit(1 if problems else 0)
