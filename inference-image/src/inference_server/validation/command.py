"""``inference-server validate``: one line of JSON on standard output.

Exit codes: 0 passed, 1 failed, 2 could not be run (the address does not answer, a file cannot be read).
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from inference_server.validation.client import Client, UnreachableError
from inference_server.validation.logs import (
    SCALE,
    Limits,
    LogError,
    Readiness,
    Tally,
    judge,
    tally_files,
    tally_metrics,
)
from inference_server.validation.suites import SUITES

COULD_NOT_RUN: Final = 2


@click.group()
def validate() -> None:
    """Check a running server. Exit code 0: passed, 1: failed, 2: could not be run."""


def _give_up(suite: str, error: Exception) -> NoReturn:
    click.echo(json.dumps({"suite": suite, "passed": False, "error": str(error)}, ensure_ascii=False))
    sys.exit(COULD_NOT_RUN)


def _connection(command: Any) -> Any:
    for option in (
        click.option("--wait", default=60.0, show_default=True, help="Seconds to wait for it to be ready."),
        click.option("--timeout", default=10.0, show_default=True, help="Seconds for one request."),
    ):
        command = option(command)
    return command


def _suite_command(name: str) -> click.Command:
    suite = SUITES[name]

    @click.command(name, help=suite.summary)
    @click.option(
        "--url", envvar="CANDIDATE_URL", required=True, help="Address of the server [$CANDIDATE_URL]."
    )
    @click.option("--threshold", type=click.FloatRange(0, 1), default=suite.threshold, show_default=True)
    @_connection
    def command(url: str, threshold: float, timeout: float, wait: float) -> None:
        try:
            client = Client.connect(url, timeout=timeout, wait=wait)
            result = suite.run(client, suite=name, threshold=threshold)
        except UnreachableError as error:
            _give_up(name, error)
        click.echo(result.to_json())
        sys.exit(0 if result.passed else 1)

    return command


for _name in SUITES:
    validate.add_command(_suite_command(_name))


@validate.command()
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
@_connection
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
        _give_up("logs", error)
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
