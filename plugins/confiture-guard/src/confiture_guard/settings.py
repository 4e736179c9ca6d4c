"""Read ``[tool.confiture.plugin.guard]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from confiture.plugins.kit import (
    FLAG,
    TEXT,
    TEXTS,
    TIMEOUT,
    Kind,
    TableReader,
    did_you_mean,
    open_settings,
)
from confiture_guard.window import DAYS, Window, parse_window

CONFIG_KEYS = {
    "role": "The role that migrations run as.",
    "lock_timeout": 'How long a statement may wait for a lock: "3s".',
    "statement_timeout": 'How long a statement may run: "15min".',
    "refuse_replica": "Whether to refuse a server in recovery.",
    "hours": 'When migrations may run: "22:00-06:00".',
    "timezone": 'The time zone of these hours: "Europe/Paris"; UTC if not set.',
    "days": 'The days on which these hours begin: ["mon", "tue"]; every day if not set.',
    "busy_tables": "Tables on which no other session may hold a lock for long.",
    "busy_after": 'How long its transaction may have been open: "1min" if not set.',
}
SERVER_SETTINGS = {"role": TEXT, "lock_timeout": TIMEOUT, "statement_timeout": TIMEOUT}


@frozen
class GuardSettings:
    """What to set and what to refuse.

    Attributes:
        table: The table they were read from, for faults that only the server finds.
        server_settings: PostgreSQL's settings for the migration, by name.
        refuse_replica: Whether a server in recovery is refused.
        window: When migrations may run; ``None``: always.
        timezone: The window's time zone, as PostgreSQL knows it.
        busy_tables: Names as PostgreSQL reads them.
        busy_after: How old another session's transaction may be, as PostgreSQL writes an interval.
    """

    table: TableReader
    server_settings: Mapping[str, str]
    refuse_replica: bool
    window: Window | None
    timezone: str
    busy_tables: tuple[str, ...]
    busy_after: str


def read_settings(config: Mapping[str, Any]) -> GuardSettings:
    """Return the settings of the plugin's table.

    Raises:
        PluginSettingsFault: A key is unknown, or its value cannot be used.
    """
    table = open_settings(config, "guard", CONFIG_KEYS)
    settings = {key: table.get(key, kind, None) for key, kind in SERVER_SETTINGS.items()}
    return GuardSettings(
        table=table,
        server_settings={key: text for key, text in settings.items() if text is not None},
        refuse_replica=table.get("refuse_replica", FLAG, False),
        window=_read_window(table),
        timezone=table.get("timezone", TEXT, "UTC"),
        busy_tables=table.get("busy_tables", _NAMES, ()),
        busy_after=table.get("busy_after", _INTERVAL, "1min"),
    )


def _read_window(table: TableReader) -> Window | None:
    hours = table.get("hours", _HOURS, None)
    days = table.get("days", _DAYS, ())
    return None if hours is None and not days else parse_window(hours, days)


def _read_hours(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    parse_window(value, ())
    return value


def _read_days(value: object) -> tuple[str, ...]:
    days = TEXTS.read(value)
    for day in days:
        if day.lower() not in DAYS:
            near = did_you_mean(day.lower(), DAYS) or f"the days are {', '.join(DAYS)}"
            raise ValueError(f"{day!r} is no day; {near}")
    return days


def _read_interval(value: object) -> str:
    text = str(value) if type(value) in (int, float) else TEXT.read(value)
    # A bare number is in seconds to PostgreSQL, and in milliseconds or minutes to many who write it.
    if _NUMBER.fullmatch(text):
        TIMEOUT.read(text.strip())
    return text


_NUMBER = re.compile(r"\s*\d+(\.\d+)?\s*", re.ASCII)
_INTERVAL = Kind('a time such as "1min"', '"1min"', _read_interval)
_HOURS = Kind('two times such as "22:00-06:00"', '"22:00-06:00"', _read_hours)
_DAYS = Kind("a list of days", '["mon", "tue"]', _read_days)
_NAMES = evolve(TEXTS, example='["public.orders"]')
