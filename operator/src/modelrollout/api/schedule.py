"""When steps may advance, and who hears of transitions."""

from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import Field

from modelrollout.api.base import Matches, Rule, SetOf, SpecModel
from modelrollout.api.workload import DnsLabel, KeyRef

TIME_OF_DAY = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
TimeOfDay = Annotated[
    str, Matches(TIME_OF_DAY, "must be a time of day from 00:00 to 23:59"), Field(max_length=5)
]


class Weekday(StrEnum):
    """Days."""

    MON = "Mon"
    TUE = "Tue"
    WED = "Wed"
    THU = "Thu"
    FRI = "Fri"
    SAT = "Sat"
    SUN = "Sun"


class Transition(StrEnum):
    """Transitions that can be notified."""

    STARTED = "Started"
    STEP = "Step"
    PAUSED = "Paused"
    RESUMED = "Resumed"
    HELD = "Held"
    HOLD_ENDED = "HoldEnded"
    APPROVAL_NEEDED = "ApprovalNeeded"
    WARNING = "Warning"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    SUCCEEDED = "Succeeded"
    INVALID = "Invalid"


class ScheduleWindow(SpecModel):
    """Hours of some days."""

    days: SetOf[Weekday] = Field(
        default=(Weekday.MON, Weekday.TUE, Weekday.WED, Weekday.THU, Weekday.FRI),
        min_length=1,
        max_length=7,
        description="Days on which the window opens.",
    )
    from_: TimeOfDay = Field(alias="from", description="When it opens, as 09:00.")
    to: TimeOfDay = Field(description="When it closes, as 17:30. Earlier than from: on the next day.")

    rules = (
        Rule(
            field="to",
            message="to must differ from from: the window would be empty",
            cel="self.from != self.to",
            holds=lambda window: window.from_ != window.to,
        ),
    )


def zone_exists(name: str) -> bool:
    """Tell whether the time zone is in the database; also true where there is no database to ask."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return name == "UTC" or not available_timezones()
    return True


class Schedule(SpecModel):
    """When steps may advance. Going back never waits."""

    time_zone: Annotated[
        str,
        Matches(
            r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$", "must be an IANA time zone such as Europe/Paris"
        ),
    ] = Field(
        default="UTC",
        max_length=64,
        description="IANA time zone of the windows, such as Europe/Paris.",
    )
    windows: tuple[ScheduleWindow, ...] = Field(
        min_length=1, max_length=20, description="Steps advance only within one of these."
    )

    rules = (
        Rule(
            field="timeZone",
            message="is not in the IANA time zone database; use a name such as Europe/Paris",
            holds=lambda schedule: zone_exists(schedule.time_zone),
        ),
    )


class Notification(SpecModel):
    """A webhook that hears of transitions as CloudEvents."""

    name: DnsLabel = Field(description="Name of the notification.")
    url: Annotated[
        str,
        Matches(
            r"^https?://[^\s/]+(/\S*)?$", "must be an address such as https://hooks.example.com/rollouts"
        ),
    ] = Field(
        max_length=1024,
        description="Address that gets a POST per transition. The operator's settings say which hosts are "
        "allowed.",
    )
    events: SetOf[Transition] = Field(
        default=(),
        max_length=len(Transition),
        description="Transitions that are notified; by default all.",
    )
    authorization: KeyRef | None = Field(
        default=None, description="Key of a Secret whose content is sent as the Authorization header."
    )
