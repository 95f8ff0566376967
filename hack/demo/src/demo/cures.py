"""What to do about a failure that Docker, kind or helm report in their own words."""

from __future__ import annotations

import re
from typing import Final

_CURES: Final = (
    (
        r"no space left on device|disk quota exceeded",
        "the disk is full; free some space (`docker system prune` removes what Docker no longer uses; "
        "Docker Desktop has a disk of its own, whose size is in its settings)",
    ),
    (
        r"permission denied.*docker|docker.*permission denied",
        "this user may not use Docker's socket; add the user to the group `docker` "
        '(`sudo usermod -aG docker "$USER"`) and log in again',
    ),
    (
        r"cannot connect to the docker daemon|is the docker daemon running|error during connect|"
        r"failed to connect to the docker api|docker daemon is not running",
        "the Docker daemon is not running; start it (`sudo systemctl start docker`, or open Docker Desktop)",
    ),
    (
        r"no such host|i/o timeout|network is unreachable|temporary failure in name resolution|"
        r"tls handshake timeout|context deadline exceeded|client\.timeout exceeded|no route to host|"
        r"dial tcp|connection refused|failed to establish a new connection|connection reset",
        "the network does not answer; check the connection and Docker's proxy settings",
    ),
)


def cure(said: str) -> str | None:
    """Return what is wrong and what to do, if the output of a program is of a known kind."""
    text = " ".join(said.lower().split())
    return next((cure for pattern, cure in _CURES if re.search(pattern, text)), None)


def sentence(what: str, said: str) -> str:
    """Return what failed, why, and what to do.

    With the program's own words where they are of no known kind.
    """
    known = cure(said)
    if known is None:
        return f"{what}: {said.strip()}"
    return f"{what}: {known}, then run this again. The last line was: {_last_line(said)}"


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][-300:] if lines else "(nothing)"
