"""Which Prometheus servers may be asked, and how: the operator's settings, never the resource."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from modelrollout.prometheus.errors import UnknownTargetError
from modelrollout.prometheus.redaction import kind_of, kind_of_address, plain_name

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
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        # An address is never quoted: it may hold credentials, in whatever part of it.
        name = plain_name(self.name)
        parts = _split(self.url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"url of Prometheus {name} must be http(s)://host[:port][/path], "
                f"not {kind_of_address(self.url)}"
            )
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                f"url of Prometheus {name} must not hold credentials: use username and passwordFile"
            )
        if parts.query or parts.fragment:
            raise ValueError(f"url of Prometheus {name} must have no query and no fragment: leave them out")
        if not 0.1 <= self.timeout <= 300:
            raise ValueError(f"timeout of Prometheus {name} must be from 0.1 to 300 s, not {self.timeout}")
        object.__setattr__(self, "url", self.url.rstrip("/"))


@dataclass(frozen=True, kw_only=True, slots=True)
class PrometheusTargets:
    """The servers that resources may name; any other name is refused."""

    targets: Mapping[str, PrometheusTarget]

    def get(self, name: str) -> PrometheusTarget:
        """Return the server of that name; UnknownTargetError says which ones there are."""
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
        """Return one server without credentials, as `default`."""
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
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FIELDS: Final = frozenset({"url", "timeout", "headers", "username", "insecureSkipVerify", *_AUTH_FILES})


def _split(url: str) -> SplitResult | None:
    """Return the parts of an address; None if its host or port cannot be read."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _target(name: str, fields: Mapping[str, Any]) -> PrometheusTarget:
    shown = f"Prometheus {plain_name(name)}"
    if unknown := sorted(str(key) for key in fields.keys() - _FIELDS):
        raise ValueError(
            f"{shown}: unknown setting {plain_name(unknown[0])}; known: {', '.join(sorted(_FIELDS))}"
        )
    if not fields.get("url"):
        raise ValueError(f"{shown}: url is missing")
    files: dict[str, Any] = {
        own: Path(str(fields[key])) for key, own in _AUTH_FILES.items() if fields.get(key)
    }
    try:
        auth = TargetAuth(
            username=fields.get("username"),
            insecure_skip_verify=bool(fields.get("insecureSkipVerify", False)),
            **files,
        )
    except ValueError as error:
        raise ValueError(f"{shown}: {error}") from None
    return PrometheusTarget(
        name=name,
        url=str(fields["url"]),
        auth=auth,
        timeout=_seconds(shown, fields.get("timeout", DEFAULT_TIMEOUT)),
        headers=_headers(shown, fields.get("headers")),
    )


def _seconds(shown: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # whatever YAML gives: the error is the check
    except (TypeError, ValueError):
        raise ValueError(f"{shown}: timeout must be a number of seconds, not {kind_of(value)}") from None


def _headers(shown: str, value: object) -> dict[str, str]:
    """Return the headers as text. What they hold is never said: it may be a credential under any name."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{shown}: headers must map names to values, not be {kind_of(value)}")
    for key, content in value.items():
        if not _HEADER_NAME.fullmatch(str(key)):
            raise ValueError(
                f"{shown}: a header must be a name and a value, such as X-Scope-OrgID: team-a; the key of "
                "one is no name of a header"
            )
        if isinstance(content, Mapping | list) or not str(content).isprintable():
            raise ValueError(
                f"{shown}: header {plain_name(key)} must be one line of text, not {kind_of(content)}"
            )
    return {str(key): str(content) for key, content in value.items()}
