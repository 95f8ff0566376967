"""Command line: ``inference-server serve``, ``validate``, ``train``, ``registry`` and the others."""

from __future__ import annotations

import sys
from typing import Final

import click

from inference_server.commands import LazyGroup, Rows
from inference_server.predictors import table

_COMMANDS: Final[Rows] = {
    "serve": ("inference_server.api.command:serve", "Serve the model of $INFERENCE_ARTIFACTS over HTTP."),
    "validate": (
        "inference_server.validation.command:validate",
        "Check a running server; exit code 0 if good.",
    ),
    "loadgen": (
        "inference_server.loadgen.command:loadgen",
        "Send requests at a constant rate and count them.",
    ),
    "registry": (
        "inference_server.runs_command:registry",
        "List, verify and exchange trained runs.",
    ),
    "train": ("inference_server.commands:train", "Train artefacts (needs the training requirements)."),
    "evaluate": ("inference_server.commands:evaluate", "Measure artefacts on labelled data."),
    **table.COMMANDS,
}


@click.group(cls=LazyGroup, rows=lambda: _COMMANDS)
def main() -> None:
    """Serve models over HTTP and exports the metrics that a ModelRollout needs."""


if __name__ == "__main__":
    sys.exit(main())
