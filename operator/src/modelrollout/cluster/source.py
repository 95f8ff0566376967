"""What is watched of a kind, and how far a watch has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from modelrollout.cluster.errors import ApiError, GoneError

GONE: Final = 410

Key = tuple[str, str]
"""Namespace and name."""


class View(Protocol):
    """What an informer needs to know of the values it keeps."""

    @property
    def namespace(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def resource_version(self) -> str: ...  # noqa: D102


V = TypeVar("V", bound=View)


@dataclass(frozen=True, kw_only=True)
class Source(Generic[V]):
    """Which objects to watch and what to keep of each.

    Attributes:
        parse: JSON of the object to the value kept; None leaves it out.
        missing_ok: The API group may be absent or forbidden: then there are simply no objects.
    """

    group_version: str
    plural: str
    parse: Callable[[Mapping[str, Any]], V | None]
    label_selector: str = ""
    missing_ok: bool = False


def is_older(version: str, than: str) -> bool:
    """Tell whether a resourceVersion is of an earlier write; False where the two cannot be compared."""
    return version.isdigit() and than.isdigit() and int(version) < int(than)


def watch_error(status: Mapping[str, Any]) -> ApiError:
    """Return the error that an ERROR event of a watch stands for."""
    code, reason = int(status.get("code") or 0), str(status.get("reason") or "")
    kind = GoneError if code == GONE or reason == "Expired" else ApiError
    return kind(code, reason, str(status.get("message") or "the API server ended the watch"))
