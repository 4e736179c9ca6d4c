"""When migrations may run."""

from __future__ import annotations

from datetime import datetime

import pytest

from confiture_guard.window import find_next_opening, is_open, parse_window

# 2026-11-23 is a Monday.


@pytest.mark.parametrize(
    "hours, days, moment, expected",
    [
        ("09:00-17:00", (), "2026-11-23T09:00:00", True),
        ("09:00-17:00", (), "2026-11-23T16:59:59", True),
        ("09:00-17:00", (), "2026-11-23T17:00:00", False),
        ("09:00-17:00", (), "2026-11-23T08:59:59", False),
        ("00:00-24:00", (), "2026-11-23T23:59:59", True),
        ("22:00-06:00", (), "2026-11-23T22:00:00", True),
        ("22:00-06:00", (), "2026-11-23T05:59:00", True),
        ("22:00-06:00", (), "2026-11-23T06:00:00", False),
        ("22:00-06:00", (), "2026-11-23T12:00:00", False),
        ("22:00-06:00", ("mon",), "2026-11-23T23:00:00", True),
        ("22:00-06:00", ("mon",), "2026-11-24T03:00:00", True),
        ("22:00-06:00", ("mon",), "2026-11-23T03:00:00", False),
        ("22:00-06:00", ("sun",), "2026-11-23T03:00:00", True),
        ("9:00-17:00", ("Tue", "WED"), "2026-11-23T10:00:00", False),
        ("9:00-17:00", ("Tue", "WED"), "2026-11-25T10:00:00", True),
        (None, ("mon",), "2026-11-23T00:00:00", True),
        (None, ("mon",), "2026-11-24T00:00:00", False),
    ],
)
def test_a_moment_is_inside_or_outside(
    hours: str | None, days: tuple[str, ...], moment: str, expected: bool
) -> None:
    assert is_open(parse_window(hours, days), datetime.fromisoformat(moment)) is expected


@pytest.mark.parametrize(
    "hours", ["", "22:00", "22-06", "24:00-06:00", "12:60-13:00", "09:00-25:00", "10:00-10:00", "ab:cd-ef:gh"]
)
def test_hours_that_are_none_are_refused(hours: str) -> None:
    with pytest.raises(ValueError, match=r"is not HH:MM-HH:MM|are no two times of a day"):
        parse_window(hours, ())


@pytest.mark.parametrize(
    "hours, days, expected",
    [
        ("22:00-06:00", (), "2026-11-23T22:00:00"),
        ("08:00-10:00", (), "2026-11-24T08:00:00"),
        ("08:00-10:00", ("sun", "sat"), "2026-11-28T08:00:00"),
        ("08:00-10:00", ("mon",), "2026-11-30T08:00:00"),
    ],
)
def test_the_next_window_is_known(hours: str, days: tuple[str, ...], expected: str) -> None:
    noon = datetime.fromisoformat("2026-11-23T12:00:00")

    assert find_next_opening(parse_window(hours, days), noon) == datetime.fromisoformat(expected)


def test_a_window_reads_as_it_was_written() -> None:
    assert str(parse_window("22:00-06:00", ())) == "22:00-06:00"
    assert str(parse_window("22:00-24:00", ("fri", "mon"))) == "22:00-24:00 (mon, fri)"
