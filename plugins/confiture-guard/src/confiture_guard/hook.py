"""The hook: refuse first, then set what the migration is to run with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from attrs import frozen

from confiture import HookContext, HookResult, hookimpl
from confiture_guard.faults import Refused
from confiture_guard.looking import Holder, holders, is_replica, missing, wall_clock
from confiture_guard.rules import CONFIG_KEYS, Rules, misconfigured, rules
from confiture_guard.window import inside, next_begin

if TYPE_CHECKING:
    from psycopg import Connection


@frozen
class Guard:
    """Stands before every migration.

    Attributes:
        config_keys: What its table of the configuration may hold.
    """

    config_keys: ClassVar[dict[str, str]] = CONFIG_KEYS

    @hookimpl(tryfirst=True)
    def before_ddl(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Refuse a replica, the wrong hour and a table in use; set role and timeouts. Else do nothing."""
        asked = rules(context.config)
        _refuse_replica(conn, asked)
        _refuse_hour(conn, asked)
        _refuse_busy(conn, asked)
        stats: dict[str, Any] = dict(asked.settings)
        if absent := missing(conn, asked.busy_tables) if asked.busy_tables else []:
            stats["no_such_table"] = absent
        for name, value in asked.settings.items():
            _set(context, name, value)
        return HookResult(phase="BEFORE_DDL", hook_name="Guard", stats=stats) if stats else None


def _refuse_replica(conn: Connection[Any], asked: Rules) -> None:
    if asked.refuse_replica and is_replica(conn):
        raise Refused(
            "the server is a replica: it is in recovery, and what is changed there is lost or refused",
            hint="point --url at the primary",
        )


def _refuse_hour(conn: Connection[Any], asked: Rules) -> None:
    if asked.window is None:
        return
    now = wall_clock(conn, asked.timezone)
    if not inside(asked.window, now):
        opens = next_begin(asked.window, now)
        raise Refused(
            f"it is {now:%a %H:%M} in {asked.timezone}, outside {asked.window}",
            hint=f"wait until {opens:%a %Y-%m-%d %H:%M} ({asked.timezone}), "
            "or change plugin.guard.hours or days",
        )


def _refuse_busy(conn: Connection[Any], asked: Rules) -> None:
    if not asked.busy_tables:
        return
    found = holders(conn, asked.busy_tables, asked.busy_after)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise Refused(f"somebody is in the way: {found[0]}{more}", hint=_way_on(found[0]))


def _way_on(holder: Holder) -> str:
    if holder.gid is not None:
        return "end it with COMMIT PREPARED or ROLLBACK PREPARED, then run again"
    if holder.age is None:
        return "GRANT pg_read_all_stats to the role that connects, so that it sees how long; then run again"
    return f"wait for its end, or end it: SELECT pg_terminate_backend({holder.pid}); then run again"


def _set(context: HookContext, name: str, value: str) -> None:
    try:
        context.set_local(name, value)
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error)
        raise misconfigured(name, repr(value), f"one that the server takes; it says: {said}") from error
