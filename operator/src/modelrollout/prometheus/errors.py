"""What can go wrong between a question and its answer.

Every message says what was expected, seen, and what to do.
"""

from __future__ import annotations

from enum import StrEnum


class FailureKind(StrEnum):
    """Why there is no answer. The values label the operator's own metrics."""

    CONNECTION = "connection"
    TIMEOUT = "timeout"
    UNAUTHORIZED = "unauthorized"
    BAD_QUERY = "bad_query"
    PARTIAL = "partial"
    SERVER = "server"


class PrometheusError(Exception):
    """Prometheus gave no usable answer.

    Attributes:
        kind: Why. BAD_QUERY is the fault of one query, PARTIAL an answer with a warning, which may lack
            something; everything else concerns the server as a whole.
        detail: What Prometheus itself said, if it said anything.
        permanent: The same question will always be refused: it cannot be parsed. What fails while it is
            evaluated (too many samples, duplicate series) may succeed with tomorrow's data.
    """

    def __init__(self, kind: FailureKind, message: str, *, detail: str = "", permanent: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.detail = detail
        self.permanent = permanent

    @property
    def is_outage(self) -> bool:
        """True if no query of anybody would have been answered; a timeout may be one heavy query."""
        return self.kind not in (FailureKind.BAD_QUERY, FailureKind.PARTIAL)


class TemplateError(ValueError):
    """A query or an argument of a criterion cannot be turned into PromQL."""


class UnknownTargetError(LookupError):
    """The resource names a Prometheus that the operator's settings do not have."""
