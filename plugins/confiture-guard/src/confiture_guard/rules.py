"""The plugin's table of the configuration, read and found usable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from confiture.did_you_mean import did_you_mean
from confiture_guard.faults import Misconfigured
from confiture_guard.window import DAYS, Window, window

CONFIG_KEYS = {
    "role": "The role that migrations run as.",
    "lock_timeout": 'How long a statement may wait for a lock: "3s".',
    "statement_timeout": 'How long a statement may run: "15min".',
    "refuse_replica": "Whether to refuse a server in recovery.",
    "hours": 'When migrations may run: "22:00-06:00".',
    "timezone": 'Whose hours these are: "Europe/Paris"; UTC if not set.',
    "days": 'The days on which these hours begin: ["mon", "tue"]; every day if not set.',
    "busy_tables": "Tables on which no other session may hold a lock for long.",
    "busy_after": 'How long its transaction may have been open: "1min" if not set.',
}
SETTINGS = ("role", "lock_timeout", "statement_timeout")
_PLACE = "plugin.guard"


@frozen
class Rules:
    """What is set and what is refused.

    Attributes:
        settings: Server settings, each for the migration.
        refuse_replica: Whether a server in recovery is refused.
        window: When migrations may run; ``None``: always.
        timezone: Whose clock that is, as PostgreSQL knows it.
        busy_tables: As PostgreSQL reads names.
        busy_after: How old another session's transaction may be, as PostgreSQL writes an interval.
    """

    settings: Mapping[str, str]
    refuse_replica: bool
    window: Window | None
    timezone: str
    busy_tables: tuple[str, ...]
    busy_after: str


def rules(config: Mapping[str, Any]) -> Rules:
    """Return the rules of the plugin's table.

    Raises:
        Misconfigured: A key holds something unusable; it is named.
    """
    return Rules(
        settings={key: text for key in SETTINGS if (text := _text(config, key)) is not None},
        refuse_replica=_flag(config, "refuse_replica"),
        window=_window(config),
        timezone=_text(config, "timezone") or "UTC",
        busy_tables=_texts(config, "busy_tables", '["public.orders"]'),
        busy_after=_text(config, "busy_after") or "1min",
    )


def _window(config: Mapping[str, Any]) -> Window | None:
    hours, days = _text(config, "hours"), _texts(config, "days", '["mon", "tue"]')
    for day in days:
        if day.lower() not in DAYS:
            raise misconfigured("days", repr(day), did_you_mean(day.lower(), DAYS) or f"{', '.join(DAYS)}")
    if hours is None and not days:
        return None
    try:
        return window(hours, days)
    except ValueError as error:
        raise misconfigured("hours", repr(hours), 'two times as in "22:00-06:00"') from error


def _text(config: Mapping[str, Any], key: str) -> str | None:
    value = config.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        shown = "blank" if isinstance(value, str) else f"a {type(value).__name__}"
        raise misconfigured(key, shown, f"a text in quotes. {CONFIG_KEYS[key]}")
    return value


def _flag(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key, False)
    if not isinstance(value, bool):
        raise misconfigured(key, f"a {type(value).__name__}", "true or false")
    return value


def _texts(config: Mapping[str, Any], key: str, example: str) -> tuple[str, ...]:
    values = config.get(key, [])
    if not isinstance(values, list | tuple) or not all(isinstance(each, str) and each for each in values):
        raise misconfigured(key, f"a {type(values).__name__}", f"a list of texts, {example}")
    return tuple(values)


def misconfigured(key: str, given: str, expected: str) -> Misconfigured:
    """Return the fault of one key."""
    return Misconfigured(f"{_PLACE}.{key} is {given}", hint=f"expected is {expected}")
