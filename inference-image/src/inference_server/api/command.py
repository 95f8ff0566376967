"""``inference-server serve``."""

from __future__ import annotations

import sys

import click

from inference_server.artifacts import ArtifactError
from inference_server.errors import SettingsError


@click.command()
def serve() -> None:
    """Serve the model of $INFERENCE_ARTIFACTS over HTTP. All options come from the environment."""
    from inference_server.api.server import EXIT_NOT_STARTED, run  # noqa: PLC0415 - heavy; not for --help
    from inference_server.predictors.kinds import kind_of  # noqa: PLC0415
    from inference_server.settings import Settings  # noqa: PLC0415

    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    try:
        # The kind decides which paths there are, so it is known before anything listens.
        kind = kind_of(settings.artifacts)
    except (ArtifactError, OSError) as error:
        click.echo(f"The model could not be loaded: {error}", err=True)
        sys.exit(EXIT_NOT_STARTED)
    sys.exit(run(settings, kind))
