"""The settings that a hook may not leave changed, and the SQL that reads and restores them."""

from __future__ import annotations

from collections.abc import Mapping

from confiture.postgres.session import quote_literal

# statement_timeout is restored first, in a separate statement: a hook's `SET statement_timeout = 1` would
# otherwise cancel the guard's own message. session_authorization comes before role, because setting it
# resets the role.
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
# One current_setting per name: reading pg_settings takes 661 µs, four set_config take 31.
SETTINGS_SQL = (
    f"SELECT "
    f"{', '.join(f'current_setting({quote_literal(name)})' for name in GUARDED_SETTINGS)}; {CURSORS_SQL};"
)


def render_restore_sql(wanted: Mapping[str, str], callers: Mapping[str, str]) -> str:
    """Return two SELECTs that restore the guarded settings, one column per setting.

    A column is NULL if the setting was unchanged, else the value that the hook had given it.

    Args:
        wanted: The value of each setting for the rest of the migration.
        callers: The value of each setting for the session after the commit, on a caller's connection.
    """
    first, *others = (
        _render_restore_one(name, wanted[name], callers.get(name, "")) for name in GUARDED_SETTINGS
    )
    return f"SELECT {first}; SELECT {', '.join(others)};"


def _render_restore_one(name: str, value: str, callers: str) -> str:
    """Return SQL that restores one setting and gives the value that it had, NULL if it was unchanged."""
    setting, value = quote_literal(name), quote_literal(value)
    now = f"current_setting({setting})"
    back = f"set_config({setting}, {value}, false)"
    if callers and quote_literal(callers) != value:
        # Two values: the session's goes first, or a hook's plain SET would outlive the caller's commit;
        # then the migration's value, local to this transaction, which hides it until then.
        back = (
            f"set_config({setting}, {quote_literal(callers)}, false) || set_config({setting}, {value}, true)"
        )
    # set_config returns the new value. left(…, 0) appends none of it but makes PostgreSQL call it, after
    # it has read `now`, so one expression both reports the hook's value and replaces it.
    return f"CASE WHEN {now} <> {value} THEN {now} || left({back}, 0) END"


def render_set_local_sql(name: str, value: str) -> str:
    """Return SQL that changes a setting until the transaction ends and returns the new value."""
    return f"SELECT set_config({quote_literal(name)}, {quote_literal(value)}, true)"
