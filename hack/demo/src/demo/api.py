"""The API server over one kept connection for each thread: what the live view asks several times a second."""

from __future__ import annotations

import http.client
import json
import threading
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from demo import kubeconfig

Json = dict[str, Any]
TIMEOUT: Final = 10.0


class ApiError(Exception):
    """An answer that is no success: its status (0: no answer at all) and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


class Api:
    """Reads objects, and pods and Services through the API server's proxy. Safe for several threads."""

    def __init__(self, file: Path) -> None:
        endpoint = kubeconfig.read(file)
        self._address = urlsplit(endpoint.server)
        self._context = endpoint.context
        self._local = threading.local()

    def text(self, path: str) -> str:
        """Return the body at a path; ApiError for any answer but 200."""
        for attempt in (1, 2):
            connection = self._connection()
            try:
                connection.request("GET", path, headers={"Accept": "application/json, text/plain"})
                response = connection.getresponse()
                body = response.read().decode(errors="replace")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._local.connection = None
                if attempt == 2:
                    raise ApiError(0, str(error)) from error
                continue
            if response.status != http.HTTPStatus.OK:
                raise ApiError(response.status, body)
            return body
        raise AssertionError("the second attempt returns or raises")

    def json(self, path: str, **query: str) -> Json:
        """Return the object at a path."""
        found: Json = json.loads(self.text(f"{path}?{urlencode(query)}" if query else path))
        return found

    def items(self, path: str, **query: str) -> list[Json]:
        """Return the items of a list."""
        return list(self.json(path, **query)["items"])

    def pod(self, namespace: str, name: str, port: int, path: str) -> str:
        """Return what a pod answers."""
        return self.text(f"/api/v1/namespaces/{namespace}/pods/{quote(name)}:{port}/proxy{path}")

    def service(self, namespace: str, name: str, port: int, path: str) -> str:
        """Return what a Service answers."""
        return self.text(f"/api/v1/namespaces/{namespace}/services/{quote(name)}:{port}/proxy{path}")

    def close(self) -> None:
        """Close the calling thread's connection; a later question opens another one."""
        connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _connection(self) -> http.client.HTTPSConnection:
        connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            host, port = self._address.hostname or "", self._address.port or 443
            connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=self._context)
            self._local.connection = connection
        return connection
