"""The other side of a pseudo-terminal."""

from __future__ import annotations

import os


def drain(descriptor: int, into: bytearray) -> None:
    """Reads what a program writes to its terminal until it is gone; closes the descriptor."""
    try:
        while part := os.read(descriptor, 65536):
            into.extend(part)
    except OSError:
        pass  # how Linux says that the other side has closed
    finally:
        os.close(descriptor)
