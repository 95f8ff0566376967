"""What can go wrong while serving, in the language of the service. How HTTP says it is decided in ``api``."""

from __future__ import annotations


class ServerError(Exception):
    """Base of every error that a caller of the service may see; its text is safe to show to a client."""


class InvalidInputError(ServerError):
    """The request was understood but asks for something that cannot be answered."""


class UnknownModelError(ServerError):
    """The request names a model or a version that is not served here."""

    def __init__(self, asked: str, served: str) -> None:
        super().__init__(f"The model {asked!r} is not served here; this server has {served!r}.")


class NotReadyError(ServerError):
    """No model is loaded yet (or any more)."""


class OverloadedError(ServerError):
    """The queue is full, or a request has waited in it for too long.

    Attributes:
        retry_after: seconds after which the queue should have room again.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PredictionError(ServerError):
    """The predictor raised although it promises not to; the cause is in the log, not in the answer."""


class ReloadRefusedError(ServerError):
    """The caller may not load these artefacts: a wrong token or a directory outside the allowed one."""


class ReloadInProgressError(ServerError):
    """Another reload has not finished."""


class ReloadError(ServerError):
    """The new artefacts could not be loaded; the old ones go on serving."""


class SettingsError(Exception):
    """An environment variable has a value that the server cannot use."""

    def __init__(self, variable: str, *, expected: str, seen: str) -> None:
        self.variable = variable
        super().__init__(
            f"{variable}: expected {expected}, but it is {seen!r}. Correct the environment and start again."
        )
