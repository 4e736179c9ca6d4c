"""The settings a hook may not leave changed, and the SQL that looks at them and puts them back."""

from __future__ import annotations

from collections.abc import Mapping

from confiture.postgres.session import quote_literal

# What a hook may not leave changed. statement_timeout goes first, in a statement of its own:
# a hook's `SET statement_timeout = 1` would otherwise cancel the guard itself.
GUARDED_SETTINGS = (
    "statement_timeout",
    "session_authorization",
    "role",
    "search_path",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "TimeZone",
    "DateStyle",
    "session_replication_role",
    "row_security",
    "client_min_messages",
    "check_function_bodies",
    "default_tablespace",
)

CURSORS_SQL = "SELECT name FROM pg_cursors WHERE name <> ''"
SETTINGS_SQL = (
    f"SELECT "
    f"{', '.join(f'current_setting({quote_literal(name)})' for name in GUARDED_SETTINGS)}; {CURSORS_SQL};"
)


def render_restore_sql(wanted: Mapping[str, str], callers: Mapping[str, str]) -> str:
    """Return two SELECTs: a column a setting, NULL where it is as it was, else what it had become.

    Args:
        wanted: What each is to be for the rest of the migration.
        callers: What each is to be for the session afterwards, on an application's connection.
    """
    first, *others = (
        _render_restore_one(name, wanted[name], callers.get(name, "")) for name in GUARDED_SETTINGS
    )
    return f"SELECT {first}; SELECT {', '.join(others)};"


def _render_restore_one(name: str, value: str, callers: str) -> str:
    """Return SQL that puts one setting back: the caller's own value first, for after his commit."""
    setting, value = quote_literal(name), quote_literal(value)
    now = f"current_setting({setting})"
    back = f"set_config({setting}, {value}, false)"
    if callers and quote_literal(callers) != value:
        back = (
            f"set_config({setting}, {quote_literal(callers)}, false) || set_config({setting}, {value}, true)"
        )
    return f"CASE WHEN {now} <> {value} THEN {now} || left({back}, 0) END"


def render_set_local_sql(name: str, value: str) -> str:
    """Return SQL that changes a setting until the transaction's end, and answers with its new value."""
    return f"SELECT set_config({quote_literal(name)}, {quote_literal(value)}, true)"
