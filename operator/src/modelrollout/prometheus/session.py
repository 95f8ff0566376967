"""The HTTP session that is given to prometheus-api-client.

Form POST, rotating credentials, refusals as sentences.

The library sends every parameter in the address even with POST, so a long query would meet the limit of some
proxy on the way; and it reduces a refusal to the status code and the bytes of the body. Both are put right
here, below it.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from modelrollout.prometheus.answers import read_body, refuse_partial
from modelrollout.prometheus.errors import FailureKind, PrometheusError
from modelrollout.prometheus.targets import PrometheusTarget

_RECHECK_SECONDS: Final = 1.0
_SHOWN_LENGTH: Final = 300

Fingerprint = tuple[tuple[int, int, int], ...]


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class PrometheusSession(requests.Session):
    """One server's connections, kept alive; safe for several threads."""

    def __init__(self, target: PrometheusTarget) -> None:
        super().__init__()
        self._target = target
        self._lock = threading.Lock()
        self._seen: Fingerprint | None = None
        self._checked_at = -_RECHECK_SECONDS
        self._credentials: AuthBase | None = None
        self.trust_env = False  # neither a proxy nor a netrc of the environment gets to see the credentials
        self.headers.update(target.headers)

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """As requests does, but see the module; anything but 200 is raised as PrometheusError."""
        self._refresh()
        auth = self._target.auth
        if method == "POST":
            kwargs["data"] = kwargs.pop("params", None)
        kwargs["headers"] = None  # the library's own; ours are the session's
        kwargs["auth"] = self._credentials
        kwargs["verify"] = not auth.insecure_skip_verify if auth.ca_file is None else str(auth.ca_file)
        kwargs["cert"] = self._client_certificate()
        kwargs["allow_redirects"] = False  # the address is allow-listed, where it points to is not
        deadline = time.monotonic() + _read_seconds(kwargs.get("timeout"), self._target.timeout)
        kwargs["stream"] = True
        response = super().request(method, url, *args, **kwargs)
        read_body(response, deadline)
        if response.status_code != requests.codes.ok:
            raise refusal(self._target, response)
        refuse_partial(response.content)
        return response

    def _client_certificate(self) -> str | tuple[str, str] | None:
        auth = self._target.auth
        if auth.cert_file is None:
            return None
        return str(auth.cert_file) if auth.key_file is None else (str(auth.cert_file), str(auth.key_file))

    def _refresh(self) -> None:
        """Read the credentials again if a file has changed.

        Open connections are dropped with the old ones.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._checked_at < _RECHECK_SECONDS:
                return
            try:
                seen = self._fingerprint()
                if seen != self._seen:
                    self._credentials = self._read()
                    if self._seen is not None:
                        self.close()
                    self._seen = seen
            except (OSError, UnicodeDecodeError) as error:
                raise PrometheusError(
                    FailureKind.UNAUTHORIZED,
                    f"cannot read the credentials for Prometheus {self._target.name!r}: {error}; "
                    "check that the Secret is mounted and readable",
                ) from None
            self._checked_at = now

    def _fingerprint(self) -> Fingerprint:
        auth = self._target.auth
        paths = (auth.bearer_token_file, auth.password_file, auth.ca_file, auth.cert_file, auth.key_file)
        stats = [path.stat() for path in paths if path is not None]
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)

    def _read(self) -> AuthBase | None:
        auth = self._target.auth
        if auth.bearer_token_file is not None:
            return _Bearer(auth.bearer_token_file.read_text().strip())
        if auth.username is not None and auth.password_file is not None:
            # bytes: requests would encode text as latin-1
            return HTTPBasicAuth(
                auth.username.encode(), auth.password_file.read_text().rstrip("\r\n").encode()
            )
        return None


def _read_seconds(timeout: Any, otherwise: float) -> float:
    """Return the second of requests' two timeouts: what an answer may take in all."""
    return float(timeout[1]) if isinstance(timeout, tuple) else otherwise


def refusal(target: PrometheusTarget, response: requests.Response) -> PrometheusError:
    """Return what an answer other than 200 means."""
    name, code = f"Prometheus {target.name!r} at {target.url}", response.status_code
    error_type, detail = _own_words(response)
    if code in (401, 403):
        return PrometheusError(
            FailureKind.UNAUTHORIZED,
            f"{name} refused the operator's credentials ({code}): check its entry in the operator's settings "
            "and the mounted Secret",
            detail=detail,
        )
    if error_type in ("timeout", "canceled"):
        return PrometheusError(
            FailureKind.TIMEOUT,
            f"{name} gave up on the query: {detail}; make it cheaper or raise the timeout in the settings",
            detail=detail,
        )
    if code in (400, 422) and error_type:
        return PrometheusError(
            FailureKind.BAD_QUERY,
            f"Prometheus refused the query: {detail}",
            detail=detail,
            permanent=error_type == "bad_data",
        )
    if code == 413:
        return PrometheusError(
            FailureKind.BAD_QUERY, f"{name} (or a proxy before it) finds the query too long (413)"
        )
    if 300 <= code < 400:
        where = response.headers.get("Location", "another address")
        message = f"{name} redirects to {where} ({code}): put that address into the operator's settings"
        return PrometheusError(FailureKind.SERVER, message)
    hint = "check the address in the operator's settings" if code == 404 else "see its log"
    return PrometheusError(FailureKind.SERVER, f"{name} answered {code} {detail!r}: {hint}", detail=detail)


def _own_words(response: requests.Response) -> tuple[str, str]:
    """errorType and error of a Prometheus answer; of any other body its beginning."""
    try:
        body = response.json()
        return str(body["errorType"]), str(body["error"]).removeprefix('invalid parameter "query": ')
    except (ValueError, KeyError, TypeError):
        return "", response.text[:_SHOWN_LENGTH].strip()
