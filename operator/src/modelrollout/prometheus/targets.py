"""Which Prometheus servers may be asked, and how: the operator's settings, never the resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from modelrollout.prometheus.errors import UnknownTargetError

DEFAULT_TIMEOUT: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetAuth:
    """Credentials as files of mounted Secrets; they are read again when they change.

    Attributes:
        bearer_token_file: Holds the token alone.
        username: For basic authentication, with `password_file`.
        password_file: Holds the password alone.
        ca_file: PEM of the authorities that may sign the server's certificate; None: the usual public ones.
        cert_file: PEM of the client certificate, with `key_file` (or with the key in the same file).
        key_file: PEM of its key.
        insecure_skip_verify: Do not check the server's certificate. For trying things out only.
    """

    bearer_token_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure_skip_verify: bool = False

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("basic authentication needs both username and passwordFile")
        if self.bearer_token_file is not None and self.username is not None:
            raise ValueError("give either bearerTokenFile or username and passwordFile, not both")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("keyFile needs certFile")
        if self.insecure_skip_verify and self.ca_file is not None:
            raise ValueError("give either caFile or insecureSkipVerify, not both")


@dataclass(frozen=True, kw_only=True, slots=True)
class PrometheusTarget:
    """One server.

    Attributes:
        name: What a resource calls it (`spec.prometheus.name`).
        url: Address of its HTTP API without `/api/v1`, such as `http://prometheus.monitoring:9090`.
        auth: How to log in.
        timeout: Seconds for one question in all, retry included.
        headers: Sent with every request, such as `X-Scope-OrgID` for a multi-tenant store.
    """

    name: str
    url: str
    auth: TargetAuth = TargetAuth()
    timeout: float = DEFAULT_TIMEOUT
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"url of Prometheus {self.name!r} must be http(s)://host[:port][/path], not {self.url!r}"
            )
        if parts.username or parts.password:
            raise ValueError(
                f"url of Prometheus {self.name!r} must not hold credentials: use username and passwordFile"
            )
        if parts.query or parts.fragment:
            raise ValueError(
                f"url of Prometheus {self.name!r} must have no query and no fragment: {self.url!r}"
            )
        if not 0.1 <= self.timeout <= 300:
            raise ValueError(
                f"timeout of Prometheus {self.name!r} must be from 0.1 to 300 s, not {self.timeout}"
            )
        object.__setattr__(self, "url", self.url.rstrip("/"))


@dataclass(frozen=True, kw_only=True, slots=True)
class PrometheusTargets:
    """The servers that resources may name; any other name is refused."""

    targets: Mapping[str, PrometheusTarget]

    def get(self, name: str) -> PrometheusTarget:
        """The server of that name; UnknownTargetError says which ones there are."""
        try:
            return self.targets[name]
        except KeyError:
            known = ", ".join(sorted(self.targets)) or "none"
            raise UnknownTargetError(
                f"spec.prometheus.name {name!r} is not in the operator's settings (there: {known}); "
                "use one of those or have it added by whoever runs the operator"
            ) from None

    @classmethod
    def single(cls, url: str) -> Self:
        """One server without credentials, as `default`."""
        return cls(targets={"default": PrometheusTarget(name="default", url=url)})

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Mapping[str, Any]]) -> Self:
        """From the operator's settings: `{default: {url: ..., bearerTokenFile: ...}}`.

        Raises:
            ValueError: An unknown or missing field, or a value that makes no sense; the message names it.
        """
        return cls(targets={name: _target(name, fields) for name, fields in settings.items()})


_AUTH_FILES: Final = {
    "bearerTokenFile": "bearer_token_file",
    "passwordFile": "password_file",
    "caFile": "ca_file",
    "certFile": "cert_file",
    "keyFile": "key_file",
}
_FIELDS: Final = frozenset({"url", "timeout", "headers", "username", "insecureSkipVerify", *_AUTH_FILES})


def _target(name: str, fields: Mapping[str, Any]) -> PrometheusTarget:
    if unknown := sorted(fields.keys() - _FIELDS):
        raise ValueError(
            f"Prometheus {name!r}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(_FIELDS))}"
        )
    if not fields.get("url"):
        raise ValueError(f"Prometheus {name!r}: url is missing")
    files: dict[str, Any] = {
        own: Path(str(fields[key])) for key, own in _AUTH_FILES.items() if fields.get(key)
    }
    try:
        auth = TargetAuth(
            username=fields.get("username"),
            insecure_skip_verify=bool(fields.get("insecureSkipVerify", False)),
            **files,
        )
        timeout = float(fields.get("timeout", DEFAULT_TIMEOUT))
    except (TypeError, ValueError) as error:
        raise ValueError(f"Prometheus {name!r}: {error}") from None
    headers = {str(key): str(value) for key, value in (fields.get("headers") or {}).items()}
    return PrometheusTarget(name=name, url=str(fields["url"]), auth=auth, timeout=timeout, headers=headers)
