"""The hookspecs: one a phase, each run inside a savepoint of its own; and what else a plugin may give.

``docs/hooks.md`` is built from what stands here: ``make docs``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from psycopg import Connection

    from confiture.hooks.api import HookContext, HookResult

# The values of ``reporters`` and ``rules`` are not annotated here: their packages use these hookspecs, and
# no two packages import each other.
hookspec = pluggy.HookspecMarker("confiture")
hookimpl = pluggy.HookimplMarker("confiture")


@hookspec
def before_validation(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Check what must be true before anything is looked at.

    First of all phases, inside the migration's transaction (in a no-transaction migration: in one
    of its own), in a savepoint of its own. Nothing has changed yet: the place for a precondition,
    as that a table exists or that the replicas keep up.

    Args:
        conn: The migration's own connection, psycopg 3.
        context: What is being migrated, and what a hook may ask for.

    Returns:
        A ``HookResult`` to be reported, or ``None``.

    Raises:
        Exception: The hook is undone and the migration stops before it has begun, exit 5.
    """


@hookspec
def before_ddl(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Prepare the ground before ``up()`` (or ``down()``) changes the schema.

    Runs inside the migration's transaction (in a no-transaction migration: in one of its own),
    in a savepoint of its own. The place for settings that are to hold for the migration's SQL, by
    ``context.set_local``, and for a last look at who is in the way.

    Args:
        conn: The migration's own connection, psycopg 3.
        context: What is being migrated, and what a hook may ask for.

    Returns:
        A ``HookResult`` to be reported, or ``None``.

    Raises:
        Exception: The hook is undone and the migration stops, exit 5. The schema is as it was.
    """


@hookspec
def after_ddl(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Fill, copy or rebuild once the schema has changed.

    Runs inside the migration's transaction, in a savepoint of its own: what it writes is
    committed with the schema change, or with it undone. ``context.relations()`` says what has
    changed. In a no-transaction migration it has a transaction of its own, and may be a generator
    that commits at each ``yield``.

    Args:
        conn: The migration's own connection, psycopg 3.
        context: What is being migrated, and what a hook may ask for.

    Returns:
        A ``HookResult`` to be reported, or ``None``.

    Raises:
        Exception: The hook is undone, the migration stops and its SQL is rolled back, exit 5; in a
            no-transaction migration what was committed before stays.
    """


@hookspec
def after_validation(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Check the outcome, deferred constraints included: they have been checked just before.

    Runs inside the migration's transaction (in a no-transaction migration: in one of its own),
    in a savepoint of its own, after ``verify()``. The place to say no to what is about to be
    committed.

    Args:
        conn: The migration's own connection, psycopg 3.
        context: What is being migrated, and what a hook may ask for.

    Returns:
        A ``HookResult`` to be reported, or ``None``.

    Raises:
        Exception: The migration stops and everything is rolled back, exit 5.
    """


@hookspec
def cleanup(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Take away what earlier phases needed, last before the ledger row and the commit.

    Runs only where everything before it went well, inside the migration's transaction (in a
    no-transaction migration: in one of its own), in a savepoint of its own. What is to be done
    once the commit is certain belongs into ``context.on_commit``.

    Args:
        conn: The migration's own connection, psycopg 3.
        context: What is being migrated, and what a hook may ask for.

    Returns:
        A ``HookResult`` to be reported, or ``None``.

    Raises:
        Exception: The migration stops and everything is rolled back, exit 5.
    """


@hookspec
def on_error(conn: Connection[Any], context: HookContext, error: BaseException) -> HookResult | None:
    """Note or repair after a failed migration has been rolled back.

    Runs once, after the last retry, in a new transaction, so that what it writes lasts; in a
    rehearsal that is rolled back too. Where the connection is gone it is given a new one.

    Args:
        conn: The migration's connection, or a new one where that was lost.
        context: What is being migrated, and what a hook may ask for.
        error: What went wrong; also ``context.error``.

    Returns:
        A ``HookResult`` to be reported, or ``None``.

    Raises:
        Exception: What was written here is undone and that is said; the exit code stays.
    """


@hookspec
def reporters() -> list[Any] | None:
    """Give further formats for ``--output``.

    Asked once, before anything runs, and only where ``--output`` names a format that confiture does not
    have itself. ``Reporter`` and what it is given are in ``confiture.output.reporters``.

    Returns:
        A list of ``confiture.output.reporters.Reporter``: each has a ``name``, and a
        ``render(report, context)`` that returns text; or ``None``.

    Raises:
        Exception: The command is refused before anything runs, exit 2.
    """


@hookspec
def rules() -> list[Any] | None:
    """Return rules that the plans and files of migrations are judged by, beside the built-in ones.

    Called once, outside any migration, before anything is judged.

    Returns:
        ``confiture.rules.rule.Rule`` values, each with an id that no other rule has;
        or ``None``.

    Raises:
        Exception: Nothing is judged, exit 2.
    """
