"""``inference-server serve``."""

from __future__ import annotations

import sys
from functools import partial

import click

from inference_server.errors import SettingsError


@click.command()
def serve() -> None:
    """Serve the model of $INFERENCE_ARTIFACTS over HTTP. All options come from the environment."""
    from inference_server.api.server import run  # noqa: PLC0415 - heavy; not for --help
    from inference_server.predictors.loading import load_predictor  # noqa: PLC0415
    from inference_server.settings import Settings  # noqa: PLC0415

    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(run(settings, partial(load_predictor, encoder_override=settings.encoder)))
