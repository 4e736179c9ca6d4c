"""The hours and days in which migrations may run."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

from attrs import frozen

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_HOURS = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_DAY_MINUTES = 24 * 60


@frozen
class Window:
    """When migrations may run, by the clock on the wall.

    Attributes:
        begin_min: Minutes after midnight, the first that is inside.
        end_min: The first that is outside; not after ``begin_min``: on the next day.
        days: The days on which a window begins, 0 is Monday.
    """

    begin_min: int = 0
    end_min: int = _DAY_MINUTES
    days: frozenset[int] = frozenset(range(7))

    def __str__(self) -> str:
        """As it is written in the configuration: ``22:00-06:00 (mon, tue)``."""
        hours = "-".join(f"{each // 60:02}:{each % 60:02}" for each in (self.begin_min, self.end_min))
        days = ", ".join(DAYS[day] for day in sorted(self.days))
        return hours if len(self.days) == len(DAYS) else f"{hours} ({days})"


def window(hours: str | None, days: tuple[str, ...]) -> Window:
    """Return the window of ``"22:00-06:00"``; the whole day without hours, every day without days.

    Raises:
        ValueError: The hours or a day cannot be read, or the hours are none.
    """
    begin_min, end_min = _minutes(hours) if hours is not None else (0, _DAY_MINUTES)
    numbers = frozenset(DAYS.index(day.lower()) for day in days)
    return Window(begin_min, end_min, numbers or frozenset(range(7)))


def _minutes(hours: str) -> tuple[int, int]:
    found = _HOURS.fullmatch(hours.strip())
    if not found:
        raise ValueError(f"{hours!r} is not HH:MM-HH:MM")
    begin_h, begin, end_h, end = map(int, found.groups())
    begin_min, end_min = begin_h * 60 + begin, end_h * 60 + end
    if max(begin, end) > 59 or begin_min >= _DAY_MINUTES or end_min > _DAY_MINUTES or begin_min == end_min:
        raise ValueError(f"{hours!r} is no time of a day")
    return begin_min, end_min


def inside(window: Window, moment: datetime) -> bool:
    """Whether ``moment`` lies in the window; after midnight it is still the day on which it began."""
    minute = moment.hour * 60 + moment.minute
    if window.begin_min < window.end_min:
        return moment.weekday() in window.days and window.begin_min <= minute < window.end_min
    if minute >= window.begin_min:
        return moment.weekday() in window.days
    return minute < window.end_min and (moment.weekday() - 1) % 7 in window.days


def next_begin(window: Window, moment: datetime) -> datetime:
    """Return when the window opens next, for a moment outside."""
    first = datetime.combine(moment.date(), time()) + timedelta(minutes=window.begin_min)
    each = (first + timedelta(days=days) for days in range(9))
    return next(begin for begin in each if begin >= moment and begin.weekday() in window.days)
