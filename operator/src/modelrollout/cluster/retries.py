"""Bounded retries with jitter for requests to the API server."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from modelrollout.cluster.errors import ApiError, ApiUnavailableError

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 4
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
UNAUTHORIZED: Final = 401
T = TypeVar("T")
_jitter = random.Random()  # noqa: S311 - spreads retries, no secret


async def with_retries(
    once: Callable[[], Awaitable[T]], *, attempts: int, renew: Callable[[], Awaitable[None]] | None
) -> T:
    """Return the answer of `once`, which is called again where waiting or new credentials may help.

    Args:
        once: One attempt. Raises ApiError.
        attempts: How many at most.
        renew: Reads the credentials anew after the first 401; None where that cannot help.

    Raises:
        ApiError: Refused.
        ApiUnavailableError: All attempts failed.
    """
    pause, renewed = FIRST_PAUSE, False
    for attempt in range(1, attempts + 1):
        try:
            return await once()
        except ApiError as error:
            if error.status == UNAUTHORIZED and renew is not None and not renewed:
                renewed = True
                await renew()
                continue
            if not isinstance(error, ApiUnavailableError) or attempt == attempts:
                raise
            logger.debug("The API server did not answer (attempt %d of %d): %s", attempt, attempts, error)
        await asyncio.sleep(pause * _jitter.uniform(0.5, 1.5))
        pause = min(2 * pause, LONGEST_PAUSE)
    raise ApiUnavailableError(
        0, "Unauthorized", "the API server refuses the credentials, also after reading them anew"
    )
