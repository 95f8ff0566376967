"""The docker command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo import cures
from demo.errors import CommandError, MachineError
from demo.process import run

PULL_SECONDS = 900


@dataclass(frozen=True)
class Docker:
    """The docker command for one daemon.

    Attributes:
        command: The program.
        env: Variables that it needs to find and use its daemon.
        build_options: Options of `docker build` that this daemon needs.
    """

    command: str | Path = "docker"
    env: Mapping[str, str] = field(default_factory=dict)
    build_options: tuple[str, ...] = ()

    def run(self, *arguments: str | Path, timeout: float = 120, stdin: str | bytes | None = None) -> str:
        """Run the docker command and return its standard output; CommandError if it fails."""
        return run([self.command, *arguments], timeout=timeout, stdin=stdin, env=self.env)

    def image_id(self, reference: str) -> str | None:
        """Return the digest of an image's content, or None if the daemon does not have the image."""
        try:
            return self.run("image", "inspect", "--format", "{{.Id}}", reference).strip()
        except CommandError:
            return None

    def pull(self, reference: str) -> None:
        """Pull an image unless the daemon has it.

        Raises:
            MachineError: It cannot be pulled.
        """
        if self.image_id(reference) is not None:
            return
        try:
            self.run("pull", reference, timeout=PULL_SECONDS)
        except CommandError as error:
            raise MachineError(cures.sentence(f"Docker could not pull {reference}", str(error))) from error
