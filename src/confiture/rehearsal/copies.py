"""Open the copy of the database that a rehearsal runs in: a clone, or a copy on an embedded server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal

import psycopg
from attrs import evolve, field, frozen
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import ConnectionFault
from confiture.ledger.migration_lock import take_migration_lock
from confiture.migrations.prepare import PreparedMigration
from confiture.models.report import Fault, NotSeen, Report
from confiture.postgres.connect import connect, open_connection
from confiture.postgres.session import Session
from confiture.rehearsal.clone import IS_CLONE_SQL, clone_database, pin_server
from confiture.rehearsal.isolation import (
    IsolatedSession,
    SharedCatalogs,
    list_refused_scopes,
    refuse_call,
    refuse_shared,
)
from confiture.rehearsal.outbound import disable_outbound
from confiture.rehearsal.statement_observer import Sampler

RehearsalTarget = Literal["transaction", "clone", "embedded"]


@frozen
class DatabaseCopy:
    """A copy of the database, to rehearse in.

    Attributes:
        settings: The settings that connect to it.
        sampler: Samples statements that manage their own transactions.
        shared_catalogs: Finds changes that the copy does not isolate; ``None`` if it isolates all.
        refuse_call: Refuses a Python migration's statement that the copy does not isolate.
        refused_scopes: The scopes of effects that it does not isolate.
        add_hints: Adds hints to a report whose migrations failed only because of this copy.
        notes: Notes on the copy, for the report.
    """

    settings: Settings
    sampler: Sampler = field(repr=False)
    shared_catalogs: SharedCatalogs | None = None
    refuse_call: Callable[[PreparedMigration, str, int | None], None] | None = None
    refused_scopes: tuple[str, ...] = list_refused_scopes(outward_only=False)
    add_hints: Callable[[Report], Report] = lambda report: report
    notes: tuple[str, ...] = ()

    def open_session(self, conn: Connection[Any]) -> Session:
        """Return a session on a connection to the copy."""
        return IsolatedSession(conn, owned=True, shared_catalogs=self.shared_catalogs)


@contextmanager
def open_copy(
    settings: Settings,
    target: RehearsalTarget,
    works: tuple[PreparedMigration, ...],
    sample_rows: int | None = None,
) -> Iterator[DatabaseCopy]:
    """Copy the database, disable outbound connections in the copy, and drop it when the block ends.

    Raises:
        ConfitureError: The copy cannot be made; nothing was run.
    """
    with ExitStack() as stack:
        make = _open_clone if target == "clone" else _open_embedded
        copy = make(stack, settings, works, sample_rows)
        stack.callback(copy.sampler.close)
        yield copy


def _open_clone(
    stack: ExitStack, settings: Settings, works: tuple[PreparedMigration, ...], sample_rows: int | None
) -> DatabaseCopy:
    refuse_shared(works)
    # Wait for a run in progress, as every command does. Release the lock before the copying: CREATE DATABASE
    # needs a source that nobody is connected to, and the lock is held by a connection.
    with take_migration_lock(connect(settings, direct=True), settings.schema, settings.lock_wait_s) as keeper:
        source = keeper.conn.info.dbname
        settings = pin_server(settings, keeper.conn)
    clone = stack.enter_context(clone_database(settings, source))
    try:
        with open_connection(clone.settings) as conn:
            disable_outbound(conn)
            if sample_rows is not None:
                _thin_out_clone(settings, conn, sample_rows)
    except ConnectionFault as fault:
        fault.hint = (
            f"the server does not let this role connect to the clone of {source!r} (see pg_hba.conf); "
            "rehearse on an embedded server: --in embedded"
        )
        raise
    return DatabaseCopy(
        clone.settings,
        Sampler(partial(connect, clone.settings)),
        SharedCatalogs.watch(clone.maintenance_conn, IS_CLONE_SQL),
        refuse_call,
        notes=(f"rehearsed in a clone of {source}; each migration was committed there", *clone.notes),
    )


def _thin_out_clone(settings: Settings, clone: Connection[Any], sample_rows: int) -> None:
    """Replace the rows of the clone by a sample of the source's."""
    # The source may be connected to again, because the clone exists.
    from confiture.rehearsal.row_sample import begin_read_only_snapshot, thin_out

    with open_connection(settings, direct=True) as source:
        begin_read_only_snapshot(source)
        thin_out(source, clone, settings.schema, sample_rows)


def _open_embedded(
    stack: ExitStack, settings: Settings, works: tuple[PreparedMigration, ...], sample_rows: int | None
) -> DatabaseCopy:
    from confiture.rehearsal.embedded_copy import open_embedded_copy

    refuse_shared(works, outward_only=True)
    made = stack.enter_context(open_embedded_copy(settings, sample_rows))
    return DatabaseCopy(
        made.settings,
        Sampler(partial(connect, made.settings)),
        refuse_call=partial(refuse_call, outward_only=True),
        refused_scopes=list_refused_scopes(outward_only=True),
        add_hints=made.add_hints,
        notes=made.notes,
    )


def add_copy_notes(report: Report, copy: DatabaseCopy) -> Report:
    """Return the report with the copy's hints and notes; a committed change outside the clone is a fault."""
    report = copy.add_hints(evolve(report, notes=(*report.notes, *copy.notes)))
    try:
        changed = copy.shared_catalogs.find_changes() if copy.shared_catalogs else ()
    except psycopg.Error:
        if not report.exit_code:
            raise
        unknown = "cannot tell what changed outside of the clone: the connection is lost"
        return evolve(report, notes=(*report.notes, unknown))
    if not changed:
        return report
    fault = Fault(
        "objects that all databases of the server share changed during the rehearsal: "
        + "; ".join(changed[:5]),
        hint="check if a migration changed them (a clone does not isolate that) or another session, "
        "and undo the migration's changes",
    )
    return evolve(report, outcome="failed", exit_code=report.exit_code or 4, error=report.error or fault)


def note_missing_rows(report: Report) -> Report:
    """Return the report with what a copy without rows cannot show: no scan and no block takes long."""
    reason = "the copy has no rows; --sample ROWS copies some"
    unseen = (NotSeen(None, "scans", reason), NotSeen(None, "long blocks", reason))
    return evolve(
        report,
        migrations=tuple(
            evolve(migration, not_seen=(*migration.not_seen, *unseen))
            if migration.outcome == "rehearsed"
            else migration
            for migration in report.migrations
        ),
    )
