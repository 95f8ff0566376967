"""The command `report`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from modelrollout.api.printable import printable
from modelrollout.cli.client import Rollouts, Target
from modelrollout.cli.completion import rollout_names
from modelrollout.cli.prometheus import prometheus_client, prometheus_options
from modelrollout.cli.report.data import gather
from modelrollout.cli.report.page import render
from modelrollout.cli.report.run import ReportError
from modelrollout.cli.session import run
from modelrollout.prometheus import PrometheusClient


@click.command()
@click.argument("name", shell_complete=rollout_names)
@click.option(
    "-o",
    "--output",
    "file",
    required=True,
    type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path),
    help="HTML file to write; - for standard output.",
)
@click.option(
    "--run", "wanted", metavar="ID", help="An earlier run of status.history; by default the last one."
)
@prometheus_options(required=False)
@click.pass_obj
def report(target: Target, /, name: str, file: Path, wanted: str | None, **server: Any) -> None:
    """Write one self-contained HTML page about a run: verdict, weights and criteria over time, events.

    Weights and criteria over time come from Prometheus: from the operator's own metrics where they are
    scraped, else from the queries of the criteria.
    """
    item, events = run(target, lambda rollouts: _read(rollouts, name), name=name)
    client = prometheus_client(**server) if server.get("url") else None
    try:
        page = _page(item, events, client, wanted)
    except ReportError as error:
        raise click.ClickException(str(error)) from error
    finally:
        if client is not None:
            client.close()
    if str(file) == "-":
        click.echo(page)
        return
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"Wrote {file} ({len(page.encode()) / 1024:.0f} KiB).")


def _page(
    item: dict[str, Any], events: list[dict[str, Any]], client: PrometheusClient | None, wanted: str | None
) -> str:
    # With `-o -` the page goes to a terminal.
    return printable(render(gather(item, events, client, now=datetime.now(UTC), wanted=wanted)))


async def _read(rollouts: Rollouts, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    item, events = await asyncio.gather(rollouts.get(name), rollouts.events(name))
    return item, events
