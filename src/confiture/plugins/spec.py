"""The six hookspecs: one a phase. Every one runs inside a savepoint of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from confiture.core.hooks import HookContext, HookResult

if TYPE_CHECKING:
    from psycopg import Connection

hookspec = pluggy.HookspecMarker("confiture")
hookimpl = pluggy.HookimplMarker("confiture")


@hookspec
def before_validation(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Check what must be true before anything is looked at.

    First of all phases, inside the migration's transaction (in a no-transaction migration: in one
    of its own), in a savepoint of its own. Raise to stop the migration.
    """


@hookspec
def before_ddl(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Prepare the ground before ``up()`` (or ``down()``) changes the schema.

    Runs inside the migration's transaction, in a savepoint of its own.
    Raise to stop the migration; return a ``HookResult`` to be reported.
    """


@hookspec
def after_ddl(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Fill, copy or rebuild once the schema has changed.

    Runs inside the migration's transaction, in a savepoint of its own: what it writes is
    committed with the schema change, or with it undone.
    """


@hookspec
def after_validation(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Check the outcome, deferred constraints included: they have been checked just before.

    Raise to stop the migration: everything is rolled back.
    """


@hookspec
def cleanup(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Take away what earlier phases needed, last before the ledger row and the commit.

    Runs only where everything before it went well.
    """


@hookspec
def on_error(conn: Connection[Any], context: HookContext, error: BaseException) -> HookResult | None:
    """Note or repair after a failed migration has been rolled back.

    Runs in a new transaction, so that what it writes lasts; in a rehearsal that is rolled back too.
    ``error`` is what went wrong. Raising here changes nothing but the report.
    """
