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
from confiture.ledger.migration_lock import migration_lock
from confiture.migrations.prepare import Work
from confiture.models.report import Fault, NotSeen, Report
from confiture.postgres.connect import connect, connected
from confiture.postgres.session import Session
from confiture.rehearsal.clone import CLONES, cloned, on_server_of
from confiture.rehearsal.isolation import IsolatedSession, SharedCatalogs, refuse_call, refuse_shared
from confiture.rehearsal.outbound import cut_off
from confiture.rehearsal.statement_observer import Sampler

Place = Literal["transaction", "clone", "embedded"]


@frozen
class Copy:
    """A copy of the database, to rehearse in.

    Attributes:
        settings: Lead to it.
        sampler: Watches what has transactions of its own.
        shared: What the copy shares with the database; ``None`` where that is nothing.
        refuse_call: Refuses a statement that it does not isolate.
        explain: Adds the way on to a report that lacks something only this place lacks.
        notes: What a reader must know of the place.
    """

    settings: Settings
    sampler: Sampler = field(repr=False)
    shared: SharedCatalogs | None = None
    refuse_call: Callable[[Work, str, int | None], None] | None = None
    explain: Callable[[Report], Report] = lambda report: report
    notes: tuple[str, ...] = ()

    def session(self, conn: Connection[Any]) -> Session:
        """Return a session there."""
        return IsolatedSession(conn, ours=True, shared=self.shared)


@contextmanager
def copied(
    settings: Settings, place: Place, works: tuple[Work, ...], sample_rows: int | None = None
) -> Iterator[Copy]:
    """Lend a copy of the database, cut off from the world; it is gone afterwards.

    Raises:
        ConfitureError: It cannot be had; nothing was run.
    """
    with ExitStack() as stack:
        make = _in_clone if place == "clone" else _in_embedded
        copy = make(stack, settings, works, sample_rows)
        stack.callback(copy.sampler.close)
        yield copy


def _in_clone(stack: ExitStack, settings: Settings, works: tuple[Work, ...], sample_rows: int | None) -> Copy:
    refuse_shared(works)
    # A run that is under way is waited for like everywhere; the lock is let go before the copying,
    # which needs everybody gone, us too.
    with migration_lock(connect(settings, direct=True), settings.schema, settings.lock_wait_s) as keeper:
        source = keeper.conn.info.dbname
        settings = on_server_of(settings, keeper.conn)
    clone = stack.enter_context(cloned(settings, source))
    try:
        with connected(clone.settings) as conn:
            cut_off(conn)
            if sample_rows is not None:
                _thinned_out(settings, conn, sample_rows)
    except ConnectionFault as fault:
        fault.hint = f"the clone of {source!r} does not let us in; use a server of our own: --in embedded"
        raise
    return Copy(
        clone.settings,
        Sampler(partial(connect, clone.settings)),
        SharedCatalogs.watched(clone.keeper, CLONES),
        refuse_call,
        notes=(f"rehearsed in a clone of {source}, each migration committed there", *clone.notes),
    )


def _thinned_out(settings: Settings, clone: Connection[Any], sample_rows: int) -> None:
    """Leave a sample of the rows; the database itself is read, now that the clone is made."""
    from confiture.rehearsal.row_sample import read_only_view, thin_out

    with connected(settings, direct=True) as source:
        read_only_view(source)
        thin_out(source, clone, settings.schema, sample_rows)


def _in_embedded(
    stack: ExitStack, settings: Settings, works: tuple[Work, ...], sample_rows: int | None
) -> Copy:
    from confiture.rehearsal.embedded_copy import embedded_copy

    refuse_shared(works, outward_only=True)
    made = stack.enter_context(embedded_copy(settings, sample_rows))
    return Copy(
        made.settings, Sampler(partial(connect, made.settings)), explain=made.explain, notes=made.notes
    )


def in_words(report: Report, copy: Copy) -> Report:
    """Return the report with what is to be said of the place; a leak out of a clone is a fault."""
    report = copy.explain(evolve(report, notes=(*report.notes, *copy.notes)))
    changed = copy.shared.changed() if copy.shared else ()
    if not changed:
        return report
    fault = Fault(
        "what all databases of the server share is not as it was before the rehearsal: "
        + "; ".join(changed[:5]),
        hint="a migration did that, which a clone does not isolate, or somebody else did meanwhile: look",
    )
    return evolve(report, outcome="failed", exit_code=report.exit_code or 4, fault=report.fault or fault)


def without_rows(report: Report) -> Report:
    """Say what a copy of the schema alone cannot show: nothing is long where there are no rows."""
    reason = "the copy has no rows: --sample ROWS copies some"
    unseen = (NotSeen(None, "scans", reason), NotSeen(None, "long blocks", reason))
    return evolve(
        report,
        migrations=tuple(
            evolve(each, not_seen=(*each.not_seen, *unseen)) if each.outcome == "rehearsed" else each
            for each in report.migrations
        ),
    )
