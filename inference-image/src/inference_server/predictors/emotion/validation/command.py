"""``inference-server validate logs``: how ready the emotion classifier is by what it answered."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import click

from inference_server.predictors.emotion.validation.logs import (
    SCALE,
    Limits,
    LogError,
    Readiness,
    Tally,
    judge,
    tally_files,
    tally_metrics,
)
from inference_server.validation.client import Client, UnreachableError
from inference_server.validation.options import connection, give_up


@click.command()
@click.option("--url", envvar="CANDIDATE_URL", help="Judge by this server's /metrics [$CANDIDATE_URL].")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Judge by these prediction logs instead.",
)
@click.option(
    "--at-least",
    type=click.Choice(list(SCALE), case_sensitive=False),
    default=Readiness.MOSTLY_READY.text,
    show_default=True,
    help="What counts as passed.",
)
@click.option("--min-samples", type=click.IntRange(0), default=Limits().samples, show_default=True)
@click.option("--max-p95", type=click.FloatRange(0), default=Limits().p95, show_default=True, help="Seconds.")
@connection
def logs(  # noqa: PLR0913, PLR0917 - one parameter per option
    url: str | None,
    files: tuple[Path, ...],
    at_least: str,
    min_samples: int,
    max_p95: float,
    timeout: float,
    wait: float,
) -> None:
    """How ready the model is by what it answered: NOT READY, MOSTLY READY or READY."""
    if not files and not url:
        raise click.UsageError("Say what to judge: --file LOG (repeatable) or --url ADDRESS.")
    try:
        if files:
            tally = tally_files(files)
        else:
            assert url is not None
            tally = tally_metrics(Client.connect(url, timeout=timeout, wait=wait).metrics())
    except (UnreachableError, LogError) as error:
        give_up("logs", error)
    readiness, checks = judge(tally, Limits(samples=min_samples, p95=max_p95))
    passed = readiness >= SCALE[at_least.upper()]
    click.echo(json.dumps(_report(readiness, passed, tally, checks), ensure_ascii=False))
    sys.exit(0 if passed else 1)


def _report(readiness: Readiness, passed: bool, tally: Tally, checks: list[Any]) -> dict[str, Any]:
    return {
        "suite": "logs",
        "passed": passed,
        "readiness": readiness.text,
        "predictions": tally.predictions,
        "unreadable_lines": tally.unreadable,
        "checks": [
            {
                "name": check.name,
                "value": None if math.isnan(check.value) else round(check.value, 4),
                "limit": check.limit,
                "passed": check.passed,
                "critical": check.critical,
            }
            for check in checks
        ],
    }
