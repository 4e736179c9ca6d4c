"""The hookspecs: one per phase of a migration, and those of what else a plugin may add.

``make docs`` builds ``docs/hooks.md`` from the docstrings in this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from psycopg import Connection

    from confiture.hooks.api import HookResult
    from confiture.hooks.hook_context import HookContext

# What a plugin adds (reporters, rules, sources, executors) is not annotated here: the packages of these
# values use these hookspecs, and no two packages import each other.
hookspec = pluggy.HookspecMarker("confiture")
hookimpl = pluggy.HookimplMarker("confiture")


@hookspec
def before_validation(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Check a precondition before the migration changes anything.

    This is the first phase. It runs inside the migration's transaction (a no-transaction migration
    opens one for the phase), and each hook has its own savepoint. Use it to check, for example, that
    a table exists or that the replicas keep up.

    Args:
        conn: The migration's own connection, psycopg 3.
        context: What is being migrated, and what a hook may ask for.

    Returns:
        A ``HookResult`` to be reported, or ``None``.

    Raises:
        Exception: The hook is rolled back and the migration stops before it changes anything, exit 5.
    """


@hookspec
def before_ddl(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Prepare the ground before ``up()`` (or ``down()``) changes the schema.

    Runs inside the migration's transaction (a no-transaction migration opens one for the phase), and
    each hook has its own savepoint. Use it to set what the migration's SQL shall run with, by
    ``context.set_local``, and to check for sessions that would block the migration.

    Args:
        conn: The migration's own connection, psycopg 3.
        context: What is being migrated, and what a hook may ask for.

    Returns:
        A ``HookResult`` to be reported, or ``None``.

    Raises:
        Exception: The hook is rolled back and the migration stops, exit 5. The schema is unchanged.
    """


@hookspec
def after_ddl(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Fill, copy or rebuild once the schema has changed.

    Runs inside the migration's transaction, and each hook has its own savepoint: its rows are committed
    or rolled back together with the schema change. ``context.relations()`` lists the relations that
    have changed. A no-transaction migration opens a transaction for the phase; there the hook may be a
    generator that commits at each ``yield``.

    Args:
        conn: The migration's own connection, psycopg 3.
        context: What is being migrated, and what a hook may ask for.

    Returns:
        A ``HookResult`` to be reported, or ``None``.

    Raises:
        Exception: The hook is rolled back, the migration stops and its SQL is rolled back, exit 5; a
            no-transaction migration keeps what it has committed before.
    """


@hookspec
def after_validation(conn: Connection[Any], context: HookContext) -> HookResult | None:
    """Check the result, just after PostgreSQL has checked the deferred constraints.

    Runs after ``verify()``, inside the migration's transaction (a no-transaction migration opens one
    for the phase), and each hook has its own savepoint. Raise here to prevent the commit.

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
    """Remove what earlier phases needed, just before the ledger row and the commit.

    Runs only if everything before it succeeded, inside the migration's transaction (a no-transaction
    migration opens one for the phase), and each hook has its own savepoint. Use ``context.on_commit``
    for work that must wait until the commit has succeeded.

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
    """Record or repair something after a failed migration has been rolled back.

    Runs once, after the last retry, in a new transaction, so that its rows are kept; a rehearsal rolls
    that transaction back too. If the connection was lost, the hook gets a new one.

    Args:
        conn: The migration's connection, or a new one if that was lost.
        context: What is being migrated, and what a hook may ask for.
        error: The error that stopped the migration; also ``context.error``.

    Returns:
        A ``HookResult`` to be reported, or ``None``.

    Raises:
        Exception: The hook is rolled back and the report warns of it; the exit code does not change.
    """


@hookspec
def reporters() -> list[Any] | None:
    """Return further formats for ``--output``.

    Called once, before anything runs, and only if ``--output`` names a format that confiture does not
    have built in. ``confiture.output.reporters`` defines ``Reporter`` and the values that it renders.

    Returns:
        A list of ``confiture.output.reporters.Reporter``: each has a ``name``, and a
        ``render(report, context)`` that returns text; or ``None``.

    Raises:
        Exception: The command is refused before anything runs, exit 2.
    """


@hookspec
def rules() -> list[Any] | None:
    """Return rules that judge plans and migration files, in addition to the built-in ones.

    Called once, outside any migration, before any file or plan is checked.

    Returns:
        ``confiture.rules.rule.Rule`` values, each with an id that no other rule has;
        or ``None``.

    Raises:
        Exception: The command checks nothing, exit 2.
    """


@hookspec
def sources() -> list[Any] | None:
    """Return conventions for migration files: how another tool names, divides and orders them.

    Called outside any migration, before any file is read, and only if ``source`` in the configuration, or
    what ``confiture adopt`` recorded, names a convention that confiture does not have built in. The plugin
    must be in ``plugins = [...]`` of the configuration.

    Returns:
        A list of ``confiture.sources.source.Source``; or ``None``.

    Raises:
        Exception: The command is refused before anything runs, exit 2.
    """


@hookspec
def executors() -> list[Any] | None:
    """Return ways to run the work on a fleet's targets, besides ``serial``, ``threads`` and ``dask``.

    Called once, before a fleet is begun.

    Returns:
        A list of ``confiture.fleet.executors.FleetExecutor``; or ``None``.

    Raises:
        Exception: The command is refused before anything runs, exit 2.
    """


@hookspec
def object_versions(conn: Connection[Any], config: Mapping[str, Any]) -> Sequence[Any] | None:
    """Return the versions of the objects of a schema, for ``confiture schema-version``.

    Called outside any migration, and only for the schema as it is now. The plugin must be in
    ``plugins = [...]`` of the configuration.

    Args:
        conn: A connection in a transaction that is rolled back: the hook only reads.
        config: The plugin's table of the configuration.

    Returns:
        A list of ``confiture.models.schema.ObjectVersion``; or ``None``.

    Raises:
        Exception: The command warns of it on stderr and prints the fingerprint all the same.
    """


@hookspec
def check_fleet(run: int, wave: int, outcomes: Sequence[Any]) -> None:
    """Check the health of what a fleet run has migrated, before the next wave begins.

    Called between two waves, after the soak time, in the coordinator's process.

    Args:
        run: The number of the run.
        wave: The number of the wave that has ended, counted from 1.
        outcomes: The ``confiture.models.fleet.TargetOutcome`` of each of its targets.

    Returns:
        Nothing.

    Raises:
        Exception: The run stops; what is not begun waits for ``--resume``.
    """
