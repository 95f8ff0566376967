"""Commands of the suggestion system that need no training: ``status``, ``canary``, ``rules``, ``smoke``.

Each prints JSON. Exit codes: 0 good, 1 not, 2 could not be done.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
import httpx

from inference_server.canary import bucket, on_candidate
from inference_server.predictors.suggestions.lint import lint
from inference_server.predictors.suggestions.loading import CANARY_VARIABLE, parse_share
from inference_server.predictors.suggestions.rules import RuleError, read_rules
from inference_server.validation.command import validate

COULD_NOT = 2


def _say(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def _give_up(error: object) -> NoReturn:
    _say({"error": str(error)})
    sys.exit(COULD_NOT)


@click.command()
@click.option("--url", envvar="CANDIDATE_URL", required=True, help="Address of the server [$CANDIDATE_URL].")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds.")
def status(url: str, timeout: float) -> None:
    """Say what serves: run, scores, calibration, canary. Exit code 1 when only rules answer."""
    try:
        response = httpx.get(f"{url.rstrip('/')}/model/status", timeout=timeout, trust_env=False)
        response.raise_for_status()
        body = response.json()
    except (httpx.HTTPError, ValueError) as error:
        _give_up(f"GET /model/status at {url} failed: {error}.")
    _say(body)
    sys.exit(0 if body.get("details", {}).get("model_available") else 1)


@click.command()
@click.argument("users", nargs=-1, required=True)
@click.option(
    "--share", envvar=CANARY_VARIABLE, default="0", show_default=True, help="Such as 10% [$SUGGEST_CANARY]."
)
def canary(users: tuple[str, ...], share: str) -> None:
    """Who of USERS gets the model's answers at a share, and in which bucket (0..9999) each is."""
    try:
        percent = parse_share(share)
        placed = {user: {"bucket": bucket(user), "canary": on_candidate(user, percent)} for user in users}
    except ValueError as error:
        _give_up(error)
    _say({"share_percent": percent, "users": placed})


@click.group()
def rules() -> None:
    """Check files of rules."""


@rules.command("lint")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def lint_rules(file: Path | None) -> None:
    """Name the rules of FILE (or the shipped ones) that can never fire. Exit code 1: there are some."""
    try:
        read = read_rules(file)
    except RuleError as error:
        _give_up(error)
    findings = lint(read)
    never = [item for item in findings if item.whole]
    _say(
        {
            "rules": len(read.rules),
            "categories": read.categories,
            "never": {item.rule: item.problem for item in never},
            "parts": [str(item) for item in findings if not item.whole],
        }
    )
    sys.exit(1 if never else 0)


def _smoke() -> click.Command:
    """``validate smoke`` by the name that the runbook knows."""
    command = validate.get_command(click.Context(validate), "smoke")
    assert command is not None
    return command


smoke = _smoke()
