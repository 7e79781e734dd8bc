"""Format times: ISO 8601 in UTC for programs, local time without a zone for a person.

time.strptime is not used: its first call compiles the patterns of a whole locale, which takes as long as a request.
"""

from __future__ import annotations

import time

_UTC = "%Y-%m-%dT%H:%M:%SZ"


def utc(seconds: float) -> str:
    """Return seconds since the epoch for JSON, such as `2026-11-29T15:45:32Z`."""
    return time.strftime(_UTC, time.gmtime(seconds))


def of_utc(text: str) -> float:
    """Return the seconds since the epoch of what `utc` returned."""
    import calendar  # with datetime; only a crash or a running engine has such a time

    return float(calendar.timegm(_parts(*text.rstrip("Z").split("T"))))


def local(seconds: float) -> str:
    """Return seconds since the epoch for a person, in the machine's own time, such as `2026-11-29 15:45:32`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def of_systemd(text: str) -> float:
    """Return the seconds since the epoch of a time as systemctl prints it, such as `Sun 2026-11-29 15:45:32 UTC`.

    systemctl prints local time. Its zone decides in the hour that the end of summer time repeats.
    """
    _, day, clock, zone = text.split()
    is_summer = 1 if time.daylight and zone == time.tzname[1] else 0 if zone == time.tzname[0] else -1
    return time.mktime((*_parts(day, clock), 0, 0, is_summer))


def _parts(day: str, clock: str) -> tuple[int, int, int, int, int, int]:
    """Return the numbers of a date such as 2026-11-29 and a time such as 15:45:32. Raises ValueError."""
    year, month, date = map(int, day.split("-"))
    hour, minute, second = map(int, clock.split(":"))
    return year, month, date, hour, minute, second
