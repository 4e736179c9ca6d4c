"""The places to rehearse in beside the given database: a clone on its server, a server of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal

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
from confiture.rehearsal.isolation import IsolatedSession, SharedCatalogs, refuse_call, refuse_shared
from confiture.rehearsal.outbound import disable_outbound
from confiture.rehearsal.statement_observer import Sampler

RehearsalTarget = Literal["transaction", "clone", "embedded"]


@frozen
class DatabaseCopy:
    """A copy of the database, to rehearse in.

    Attributes:
        settings: Lead to it.
        sampler: Watches what has transactions of its own.
        shared_catalogs: What the copy shares with the database; ``None`` where that is nothing.
        refuse_call: Refuses a statement that it does not isolate.
        add_hints: Adds the way on to a report that lacks something only this place lacks.
        notes: What a reader must know of the place.
    """

    settings: Settings
    sampler: Sampler = field(repr=False)
    shared_catalogs: SharedCatalogs | None = None
    refuse_call: Callable[[PreparedMigration, str, int | None], None] | None = None
    add_hints: Callable[[Report], Report] = lambda report: report
    notes: tuple[str, ...] = ()

    def open_session(self, conn: Connection[Any]) -> Session:
        """Return a session there."""
        return IsolatedSession(conn, owned=True, shared_catalogs=self.shared_catalogs)


@contextmanager
def open_copy(
    settings: Settings,
    target: RehearsalTarget,
    works: tuple[PreparedMigration, ...],
    sample_rows: int | None = None,
) -> Iterator[DatabaseCopy]:
    """Lend a copy of the database, cut off from the world; it is gone afterwards.

    Raises:
        ConfitureError: It cannot be had; nothing was run.
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
    # A run that is under way is waited for like everywhere; the lock is let go before the copying,
    # which needs everybody gone, us too.
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
        fault.hint = f"the clone of {source!r} does not let us in; use a server of our own: --in embedded"
        raise
    return DatabaseCopy(
        clone.settings,
        Sampler(partial(connect, clone.settings)),
        SharedCatalogs.watch(clone.maintenance_conn, IS_CLONE_SQL),
        refuse_call,
        notes=(f"rehearsed in a clone of {source}, each migration committed there", *clone.notes),
    )


def _thin_out_clone(settings: Settings, clone: Connection[Any], sample_rows: int) -> None:
    """Leave a sample of the rows; the database itself is read, now that the clone is made."""
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
        made.settings, Sampler(partial(connect, made.settings)), add_hints=made.add_hints, notes=made.notes
    )


def add_copy_notes(report: Report, copy: DatabaseCopy) -> Report:
    """Return the report with what is to be said of the place; a leak out of a clone is a fault."""
    report = copy.add_hints(evolve(report, notes=(*report.notes, *copy.notes)))
    changed = copy.shared_catalogs.find_changes() if copy.shared_catalogs else ()
    if not changed:
        return report
    fault = Fault(
        "what all databases of the server share is not as it was before the rehearsal: "
        + "; ".join(changed[:5]),
        hint="a migration did that, which a clone does not isolate, or somebody else did meanwhile: look",
    )
    return evolve(report, outcome="failed", exit_code=report.exit_code or 4, fault=report.fault or fault)


def note_missing_rows(report: Report) -> Report:
    """Say what a copy of the schema alone cannot show: nothing is long where there are no rows."""
    reason = "the copy has no rows: --sample ROWS copies some"
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
