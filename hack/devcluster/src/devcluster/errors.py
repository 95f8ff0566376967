"""What can go wrong, each kind with the exit code that the command line ends with.

Every message is one sentence that says what was expected, what was seen, and what to do about it.
"""

from __future__ import annotations


class DevClusterError(Exception):
    """Something failed that the user can act on; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(DevClusterError):
    """An argument or a setting does not make sense."""

    exit_code = 2


class PrerequisiteError(DevClusterError):
    """Something the machine must have is missing: root, a program, a package source."""

    exit_code = 3


class ResourceError(DevClusterError):
    """A port is taken, or a disk is too full."""

    exit_code = 4


class UnknownImageError(DevClusterError):
    """An image was named that is neither in the Docker daemon nor one of the project's own."""

    exit_code = 5


class NotReadyError(DevClusterError):
    """A component was started and did not become ready in time, or ended by itself."""

    exit_code = 6


class CommandError(DevClusterError):
    """A program that was run to the end failed; the message carries the end of what it printed."""

    def __init__(self, message: str, *, returncode: int, stdout: str = "", stderr: str = "") -> None:
        super().__init__(message)
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
