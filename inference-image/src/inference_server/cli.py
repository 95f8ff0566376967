"""Command line: ``inference-server serve``, ``validate``, ``loadgen``, ``train``, ``evaluate``."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

import click

_LAZY: Final = {
    "serve": ("inference_server.api.command", "serve", "Serve the model of $INFERENCE_ARTIFACTS over HTTP."),
    "validate": (
        "inference_server.validation.command",
        "validate",
        "Check a running server; exit code 0 if good.",
    ),
    "loadgen": (
        "inference_server.loadgen.command",
        "loadgen",
        "Send requests at a constant rate and count them.",
    ),
    "train": ("inference_server.training.cli", "train", "Train artefacts (needs the training requirements)."),
    "evaluate": ("inference_server.training.cli", "evaluate", "Measure artefacts on labelled data."),
}


class LazyGroup(click.Group):
    """Imports a command's module only when that command runs: serving must not need what training needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the base class's
        """Names, in the order of their importance."""
        return list(_LAZY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in _LAZY:
            return None
        module, attribute, _ = _LAZY[cmd_name]
        try:
            command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            ctx.fail(f"'{cmd_name}' needs the Python package {error.name!r}, which is not installed here.")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing anything."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _LAZY.items()])


@click.group(cls=LazyGroup)
def main() -> None:
    """Serves text classifiers over HTTP and exports the metrics that a ModelRollout needs."""


if __name__ == "__main__":
    sys.exit(main())
