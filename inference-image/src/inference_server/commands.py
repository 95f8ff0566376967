"""Groups of commands that import a command's module only when it runs, and the two that kinds fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from inference_server.references import Reference, resolve

Rows = Mapping[str, tuple[Reference, str]]
"""For each command where it is and what its line in the help says."""


class LazyGroup(click.Group):
    """Imports a command's module only when that command runs: serving must not need what training needs.

    Args:
        rows: gives the commands, in the order of their importance.
    """

    def __init__(self, *arguments: Any, rows: Callable[[], Rows], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._rows = rows

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the base class's
        """Names, in the order of their importance."""
        return list(self._rows())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        row = self._rows().get(cmd_name)
        if row is None:
            return None
        try:
            command = resolve(row[0])
        except ModuleNotFoundError as error:
            ctx.fail(f"'{cmd_name}' needs the Python package {error.name!r}, which is not installed here.")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing anything."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._rows().items()])


def _of_kinds(attribute: str) -> Rows:
    """Return the commands that kinds have for one purpose."""
    # Not every command needs the kinds, and with them numpy.
    from inference_server.predictors.kinds import all_kinds  # noqa: PLC0415

    kinds = [(kind.name, getattr(kind, attribute), kind.summary) for kind in all_kinds()]
    return {name: (reference, summary) for name, reference, summary in kinds if reference is not None}


@click.group(cls=LazyGroup, rows=lambda: _of_kinds("train"))
def train() -> None:
    """Train a model and write its artefacts."""


@click.group(cls=LazyGroup, rows=lambda: _of_kinds("evaluate"))
def evaluate() -> None:
    """Measure a model's artefacts on labelled data."""
