"""Instants: from the text that people write, and back to one that can be given again.

Pure. `parse_moment` raises `ValueError` in the way of `units`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from replicator.units import parse_duration_seconds

# RFC 3339, with the space for the T that it allows. The zone is optional here only to say what is missing.
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?P<zone>[Zz]|[+-]\d\d:\d\d)?", re.ASCII
)
_AGO: Final = re.compile(r"(?P<duration>.+?) +ago", re.ASCII)
_WRITTEN_OUT: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?(second|minute|hour|day|week)s?", re.ASCII)
_UNIT_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}

_FORMS: Final = (
    'write a time such as "2026-11-24T22:01:02Z", or how long ago, such as "10 minutes ago" or "90s ago"'
)


def parse_moment(text: str, now: datetime) -> datetime:
    """Return the instant, in UTC, that a time of RFC 3339 or a text such as `10 minutes ago` stands for.

    `now` has a time zone; fractions beyond microseconds are dropped.
    """
    if match := _AGO.fullmatch(text):
        try:
            return now.astimezone(UTC) - timedelta(seconds=_duration_seconds(match["duration"]))
        except (ValueError, OverflowError):
            raise ValueError(f"is no time that has been; {_FORMS}") from None
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"is no time; {_FORMS}")
    if match["zone"] is None:
        raise ValueError(f"has no time zone: put Z behind it for UTC, or an offset such as +02:00; {_FORMS}")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"is a time that no calendar has; {_FORMS}") from None


def format_moment(moment: datetime) -> str:
    """Write an instant (with a time zone) in UTC, as exactly as it is: `2026-11-24T22:01:02.123456Z`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _duration_seconds(text: str) -> float:
    if match := _WRITTEN_OUT.fullmatch(text):
        return float(match[1]) * _UNIT_SECONDS[match[2]]
    return parse_duration_seconds(text)
