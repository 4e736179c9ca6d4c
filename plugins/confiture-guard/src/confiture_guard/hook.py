"""The hook: first refuse, then set what the migration runs with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from attrs import frozen

from confiture import HookContext, HookResult, hookimpl
from confiture_guard.errors import MigrationRefused
from confiture_guard.sessions import LockHolder, find_holders, find_missing, is_replica, read_clock
from confiture_guard.settings import CONFIG_KEYS, GuardSettings, read_settings
from confiture_guard.window import find_next_opening, is_open

if TYPE_CHECKING:
    from psycopg import Connection


@frozen
class MigrationSafety:
    """Refuses a migration that would hurt, and sets role and timeouts for the others.

    Attributes:
        config_keys: What its table of settings may hold.
    """

    config_keys: ClassVar[dict[str, str]] = CONFIG_KEYS

    # tryfirst: what is refused here must not have cost another plugin's work, and what is set here must
    # hold for the hooks of the others too.
    @hookimpl(tryfirst=True)
    def before_ddl(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Refuse a replica, the wrong hour and a busy table; set role and timeouts. Nothing by default."""
        settings = read_settings(context.config)
        _refuse_replica(conn, settings)
        _refuse_hour(conn, settings)
        _refuse_busy_tables(conn, settings)
        stats: dict[str, Any] = dict(settings.server_settings)
        if settings.busy_tables and (missing := find_missing(conn, settings.busy_tables)):
            stats["no_such_table"] = missing
        for name, value in settings.server_settings.items():
            _set_local(context, settings, name, value)
        return HookResult(phase="BEFORE_DDL", hook_name="Guard", stats=stats) if stats else None


def _refuse_replica(conn: Connection[Any], settings: GuardSettings) -> None:
    if settings.refuse_replica and is_replica(conn):
        raise MigrationRefused(
            "the server is a replica: it is in recovery and accepts no changes",
            hint="point --url at the primary",
        )


def _refuse_hour(conn: Connection[Any], settings: GuardSettings) -> None:
    if settings.window is None:
        return
    now = read_clock(conn, settings)
    if not is_open(settings.window, now):
        opening = find_next_opening(settings.window, now)
        raise MigrationRefused(
            f"it is {now:%a %H:%M} in {settings.timezone}, outside {settings.window}",
            hint=f"wait until {opening:%a %Y-%m-%d %H:%M} ({settings.timezone}), "
            "or change plugin.guard.hours or days",
        )


def _refuse_busy_tables(conn: Connection[Any], settings: GuardSettings) -> None:
    if not settings.busy_tables:
        return
    holders = find_holders(conn, settings)
    if holders:
        more = f" (and {len(holders) - 1} more)" if len(holders) > 1 else ""
        raise MigrationRefused(f"a table is in use: {holders[0]}{more}", hint=_suggest_step(holders[0]))


def _suggest_step(holder: LockHolder) -> str:
    if holder.gid is not None:
        return "end it with COMMIT PREPARED or ROLLBACK PREPARED, then run again"
    if holder.age is None:
        return "GRANT pg_read_all_stats to the role that connects, so that it sees the age; then run again"
    return f"wait until it ends, or end it: SELECT pg_terminate_backend({holder.pid}); then run again"


def _set_local(context: HookContext, settings: GuardSettings, name: str, value: str) -> None:
    try:
        context.set_local(name, value)
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error)
        raise settings.table.refuse(name, f"is refused by the server: {message}") from error
