"""Points in time as they travel in headers: ISO 8601, with a zone or in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from umbel.model.later import Later
from umbel_kernel.errors import ConfigurationError

zoneinfo = Later("zoneinfo")


def zone(name: str | tzinfo | None) -> tzinfo:
    """The time zone of a name such as ``Europe/London``; UTC for None.

    Raises:
        ConfigurationError: there is no such zone on this machine.
    """
    if name is None:
        return UTC
    if isinstance(name, tzinfo):
        return name
    if name.upper() == "UTC":
        return UTC
    try:
        found: tzinfo = zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(
            f"there is no time zone {name!r} here; use a name such as 'Europe/London', or install tzdata"
        ) from error
    return found


def aware(when: datetime, tz: tzinfo) -> datetime:
    """A point in time with a zone: its own, or ``tz`` where it has none."""
    return when if when.tzinfo is not None else when.replace(tzinfo=tz)


def after(seconds: float, now: datetime) -> datetime:
    """The point in time so many seconds after another.

    Raises:
        ValueError: it is outside of what a date can say.
    """
    try:
        return now + timedelta(seconds=seconds)
    except (OverflowError, TypeError) as error:
        raise ValueError(f"{seconds!r} seconds from now is no date") from error


def read(value: Any, tz: tzinfo = UTC) -> datetime | None:
    """A header's value as a point in time: ISO 8601 text, seconds since the epoch, or None.

    Args:
        tz: the zone of a value that has none.

    Raises:
        ValueError: it is none of these.
    """
    if value is None:
        return None
    if isinstance(value, datetime):
        return aware(value, tz)
    if isinstance(value, str):
        return aware(datetime.fromisoformat(value), tz)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, OSError, ValueError) as error:
            raise ValueError(f"{value!r} is no point in time") from error
    raise ValueError(f"{value!r} is no point in time: ISO 8601 text is")
