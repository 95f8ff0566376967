"""Transitions that status keeps until people have been told of them."""

from typing import Any

from pydantic import Field

from modelrollout.api.base import Message, StatusModel, Timestamp
from modelrollout.api.schedule import Transition

UNREPORTED_LIMIT = 10
"""Most that are kept; beyond it the oldest goes."""


class UnreportedTransition(StatusModel):
    """A transition whose Event or notifications may not have gone out yet."""

    id: str = Field(
        max_length=64, description="Identifies it: part of the Event's name and of the CloudEvent's id."
    )
    at: Timestamp = Field(description="When it was decided.")
    reason: str = Field(max_length=64, description="Why, as one CamelCase word.")
    message: Message = Field(default="", description="Why, as a sentence.")
    severity: str = Field(default="Normal", max_length=16, description="Normal or Warning.")
    criterion: str | None = Field(
        default=None, max_length=63, description="For a rollback: the criterion that was breached."
    )
    announcement: Transition | None = Field(
        default=None, description="What spec.notifications calls it; absent where it is never notified."
    )

    @property
    def content(self) -> tuple[Any, ...]:
        """What two entries have in common that tell of the same."""
        return (self.at, self.reason, self.message)
