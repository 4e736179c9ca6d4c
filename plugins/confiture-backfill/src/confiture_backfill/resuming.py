"""Fill several read models one after the other, and know after a crash how far each has come."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve
from psycopg import Connection, sql

from confiture_backfill.batch import Batch
from confiture_backfill.faults import IncompleteBackfill
from confiture_backfill.filling import Filled, counted, fill, plain, table_of
from confiture_backfill.model import ReadModel
from confiture_backfill.walking import Walk, Walked, identity

if TYPE_CHECKING:
    import structlog

Progress = dict[str, dict[str, Any]]
Steps = Generator[Progress, None, Filled]


def fill_each(
    conn: Connection[Any], models: Iterable[ReadModel], resume: Any, log: structlog.stdlib.BoundLogger
) -> Generator[Progress, None, list[Filled]]:
    """Fill the read models; yield the progress of all, a table each, where it can be committed.

    Raises:
        UserFault: One cannot be filled; what was yielded before is kept.
    """
    progress: Progress = dict(resume or {})
    filled = []
    for model in models:
        if model.batch is None:
            each = _whole(conn, model, progress)
        else:
            each = _batched(conn, model, model.batch, progress, log)
        filled.append((yield from each))
    return filled


def _whole(conn: Connection[Any], model: ReadModel, progress: Progress) -> Steps:
    with plain(conn) as cursor:
        table = table_of(cursor, model)
        known = _known(progress, model, identity(cursor, table))
        if "filled" in known:
            return Filled(**known["filled"])
        filled = fill(conn, model)
        progress[model.table] = {"of": identity(cursor, table), "filled": asdict(filled)}
    yield progress
    return filled


def _batched(
    conn: Connection[Any],
    model: ReadModel,
    batch: Batch,
    progress: Progress,
    log: structlog.stdlib.BoundLogger,
) -> Steps:
    walk = Walk.over(conn, model, batch, log)
    table = table_of(walk.cursor, model)
    known = _known(progress, model, identity(walk.cursor, table, walk.source))
    if "filled" in known:
        return Filled(**known["filled"])
    walked = _resumed(walk, known) if known else walk.begin()
    # Asked once more: emptied, it is another one.
    of = identity(walk.cursor, table, walk.source)

    def stored(walked: Walked) -> Progress:
        progress[model.table] = {"of": of, "walked": asdict(walked)}
        return progress

    yield stored(walked)
    walked = yield from walk.steps(walked, stored)
    filled = yield from _counted(walk, table, walked, progress)
    progress[model.table] = {"of": of, "filled": asdict(filled)}
    yield progress
    return filled


def _resumed(walk: Walk, known: dict[str, Any]) -> Walked:
    walked = Walked(**known["walked"])
    walk.log.info("backfill.resumed", table=walk.model.table, batches=walked.batches, rows=walked.rows)
    # With a time, the size has been found out; without, the configuration may have changed since.
    return walked if walk.batch.time_ms else evolve(walked, size_rows=walk.batch.rows)


def _counted(walk: Walk, table: sql.Identifier, walked: Walked, progress: Progress) -> Steps:
    model, batches, seconds = walk.model, walked.batches, round(walked.seconds, 3)
    try:
        expected, found = counted(walk.cursor, model, table)
    except IncompleteBackfill:
        # Going on from its end would never mend it: the next run begins again.
        del progress[model.table]
        yield progress
        raise
    return Filled(model.table, walked.rows, expected, found, batches, seconds)


def _known(progress: Progress, model: ReadModel, of: str) -> dict[str, Any]:
    """Return what was stored of this read model; nothing where the tables are not those any more."""
    known = progress.get(model.table, {})
    return known if known.get("of") == of else {}
