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
    """The hours and days in which migrations may run, in local time.

    Attributes:
        begin_min: Minutes after midnight at which it opens.
        end_min: Minutes after midnight at which it closes; on the next day if not after ``begin_min``.
        days: The days on which it opens, 0 is Monday.
    """

    begin_min: int = 0
    end_min: int = _DAY_MINUTES
    days: frozenset[int] = frozenset(range(7))

    def __str__(self) -> str:
        """As it is written in the configuration: ``22:00-06:00 (mon, tue)``."""
        hours = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.begin_min, self.end_min))
        days = ", ".join(DAYS[day] for day in sorted(self.days))
        return hours if len(self.days) == len(DAYS) else f"{hours} ({days})"


def parse_window(hours: str | None, days: tuple[str, ...]) -> Window:
    """Return the window of ``"22:00-06:00"``; the whole day without hours, every day without days.

    Raises:
        ValueError: The hours or a day cannot be read, or the window is empty.
    """
    begin_min, end_min = _parse_hours(hours) if hours is not None else (0, _DAY_MINUTES)
    numbers = frozenset(DAYS.index(day.lower()) for day in days)
    return Window(begin_min, end_min, numbers or frozenset(range(7)))


def _parse_hours(hours: str) -> tuple[int, int]:
    found = _HOURS.fullmatch(hours.strip())
    if not found:
        raise ValueError(f"{hours!r} is not HH:MM-HH:MM")
    begin_h, begin, end_h, end = map(int, found.groups())
    begin_min, end_min = begin_h * 60 + begin, end_h * 60 + end
    if max(begin, end) > 59 or begin_min >= _DAY_MINUTES or end_min > _DAY_MINUTES or begin_min == end_min:
        raise ValueError(f"{hours!r} are no two times of a day")
    return begin_min, end_min


def is_open(window: Window, moment: datetime) -> bool:
    """Return whether ``moment`` is in the window.

    After midnight a window still belongs to the day on which it opened: with ``22:00-06:00``, Tuesday at
    three is Monday's.
    """
    minute = moment.hour * 60 + moment.minute
    if window.begin_min < window.end_min:
        return moment.weekday() in window.days and window.begin_min <= minute < window.end_min
    if minute >= window.begin_min:
        return moment.weekday() in window.days
    return minute < window.end_min and (moment.weekday() - 1) % 7 in window.days


def find_next_opening(window: Window, moment: datetime) -> datetime:
    """Return when the window opens next, for a moment outside it."""
    first = datetime.combine(moment.date(), time()) + timedelta(minutes=window.begin_min)
    # Nine days: today's opening may have passed, and the only day of a week may be today.
    openings = (first + timedelta(days=days) for days in range(9))
    return next(opening for opening in openings if opening >= moment and opening.weekday() in window.days)
