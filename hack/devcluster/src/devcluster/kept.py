"""Connections to API servers that are kept from one read to the next.

A test that waits reads twenty times a second, and the TLS handshake of a new connection costs more CPU than
the read: 3.6 ms in all for server and client.
"""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPSConnection

_LIMIT = 4
_Key = tuple[str, str, int]
_kept: OrderedDict[_Key, HTTPSConnection] = OrderedDict()


def read(
    key: _Key, connect: Callable[[], HTTPSConnection], path: str, headers: Mapping[str, str], timeout: float
) -> tuple[int, str]:
    """GET over the connection that was kept under this key, else over a new one: status code and body.

    A kept connection that fails is replaced once: the server may have ended it long ago. Connections of other
    threads than the main one are not kept: nothing would close them when such a thread ends.

    Raises:
        OSError, HTTPException: The server does not answer on a new connection.
    """
    if threading.current_thread() is not threading.main_thread():
        connection = connect()
        try:
            return _get(connection, path, headers)
        finally:
            connection.close()
    kept = _kept.pop(key, None)
    if kept is not None and kept.sock is not None:
        try:
            kept.sock.settimeout(timeout)
            answer = _get(kept, path, headers)
        except (OSError, HTTPException):
            kept.close()
        except BaseException:
            kept.close()  # interrupted in the middle of an answer
            raise
        else:
            _keep(key, kept)
            return answer
    connection = connect()
    try:
        answer = _get(connection, path, headers)
    except BaseException:
        connection.close()
        raise
    _keep(key, connection)
    return answer


def close_all() -> None:
    """Close what is kept."""
    while _kept:
        _kept.popitem()[1].close()


def _get(connection: HTTPSConnection, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
    connection.request("GET", path, headers=dict(headers))
    response = connection.getresponse()
    return response.status, response.read().decode(errors="replace")


def _keep(key: _Key, connection: HTTPSConnection) -> None:
    _kept[key] = connection
    while len(_kept) > _LIMIT:
        _kept.popitem(last=False)[1].close()


atexit.register(close_all)
