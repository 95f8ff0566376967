"""``inference-server validate``: one line of JSON on standard output.

Exit codes: 0 passed, 1 failed, 2 could not be run (the address does not answer, a file cannot be read).

A suite belongs to every server or to a kind of predictor. Several kinds may have a suite of one name: the
server that is asked says which kind it serves.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click

from inference_server.predictors.kinds import all_kinds, find_kind
from inference_server.references import resolve
from inference_server.validation.client import Client, UnreachableError
from inference_server.validation.options import connection, give_up
from inference_server.validation.suites import SUITES, Suite


class ValidateGroup(click.Group):
    """The suites of every server, of all kinds, and the further commands of kinds."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the base class's
        """Names: suites first."""
        return [*_summaries(), *_further()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of a suite, or one that a kind brings."""
        summary = _summaries().get(cmd_name)
        if summary is not None:
            return _suite_command(cmd_name, summary)
        reference = _further().get(cmd_name)
        if reference is None:
            return None
        command = resolve(reference)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=ValidateGroup)
def validate() -> None:
    """Check a running server. Exit code 0: passed, 1: failed, 2: could not be run."""


def _summaries() -> dict[str, str]:
    """Return what each suite is for, by name; a name that several kinds have gets a sentence for each."""
    found: dict[str, list[str]] = {}
    for suites in (*(kind.load_suites() for kind in all_kinds()), SUITES):
        for name, suite in suites.items():
            found.setdefault(name, []).append(suite.summary)
    return {name: " ".join(sentences) for name, sentences in found.items()}


def _further() -> Mapping[str, str]:
    return {name: reference for kind in all_kinds() for name, reference in kind.validate.items()}


def _find(name: str, client: Client) -> Suite:
    """Return the suite of this name that fits the server.

    Raises:
        UnreachableError: the kind that it serves has none, or is not known here.
    """
    if name in SUITES:
        return SUITES[name]
    served = client.kind()
    kind = find_kind(served)
    suites = {} if kind is None else kind.load_suites()
    if name not in suites:
        known = ", ".join([*suites, *SUITES])
        raise UnreachableError(
            f"{client.http.base_url} serves a predictor of the kind {served!r}, which has no suite {name!r}; "
            f"it has {known}."
        )
    return suites[name]


def _suite_command(name: str, summary: str) -> click.Command:
    @click.command(name, help=summary)
    @click.option(
        "--url", envvar="CANDIDATE_URL", required=True, help="Address of the server [$CANDIDATE_URL]."
    )
    @click.option(
        "--threshold", type=click.FloatRange(0, 1), help="Share that passes  [default: the suite's]"
    )
    @connection
    def command(url: str, threshold: float | None, timeout: float, wait: float) -> None:
        try:
            client = Client.connect(url, timeout=timeout, wait=wait)
            suite = _find(name, client)
            result = suite.run(
                client, suite=name, threshold=suite.threshold if threshold is None else threshold
            )
        except UnreachableError as error:
            give_up(name, error)
        click.echo(result.to_json())
        sys.exit(0 if result.passed else 1)

    return command
