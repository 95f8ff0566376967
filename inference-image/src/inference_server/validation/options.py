"""What every command of ``validate`` shares: options of the connection, and how it gives up."""

from __future__ import annotations

import json
import sys
from typing import Any, Final, NoReturn

import click

COULD_NOT_RUN: Final = 2


def give_up(suite: str, error: object) -> NoReturn:
    """Say in one line of JSON why the suite could not be run, and end with :data:`COULD_NOT_RUN`."""
    click.echo(json.dumps({"suite": suite, "passed": False, "error": str(error)}, ensure_ascii=False))
    sys.exit(COULD_NOT_RUN)


def connection(command: Any) -> Any:
    """Add ``--wait`` and ``--timeout``."""
    for option in (
        click.option("--wait", default=60.0, show_default=True, help="Seconds to wait for it to be ready."),
        click.option("--timeout", default=10.0, show_default=True, help="Seconds for one request."),
    ):
        command = option(command)
    return command
