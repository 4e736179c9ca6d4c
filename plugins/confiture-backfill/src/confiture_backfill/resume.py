"""Fill several read models one after the other, and know after a crash how far each has come."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve
from psycopg import Connection, sql

from confiture_backfill.batch import Batch
from confiture_backfill.errors import IncompleteBackfill
from confiture_backfill.fill import FilledModel, compare_counts, fill_model, find_table, open_plain_cursor
from confiture_backfill.keyset import KeysetWalk, WalkProgress, read_identity
from confiture_backfill.read_model import ReadModel

if TYPE_CHECKING:
    import structlog

Progress = dict[str, dict[str, Any]]
Steps = Generator[Progress, None, FilledModel]


def fill_each(
    conn: Connection[Any], models: Iterable[ReadModel], resume: Any, log: structlog.stdlib.BoundLogger
) -> Generator[Progress, None, list[FilledModel]]:
    """Fill the read models; yield the progress of all, a table each, where it can be committed.

    Raises:
        UserFault: One cannot be filled; what was yielded before is kept.
    """
    progress: Progress = dict(resume or {})
    filled = []
    for model in models:
        if model.batch is None:
            each = _fill_whole(conn, model, progress)
        else:
            each = _fill_in_batches(conn, model, model.batch, progress, log)
        filled.append((yield from each))
    return filled


def _fill_whole(conn: Connection[Any], model: ReadModel, progress: Progress) -> Steps:
    with open_plain_cursor(conn) as cursor:
        table = find_table(cursor, model)
        known = _read_progress(progress, model, read_identity(cursor, table))
        if "filled" in known:
            return FilledModel(**known["filled"])
        filled = fill_model(conn, model)
        progress[model.table] = {"of": read_identity(cursor, table), "filled": asdict(filled)}
    yield progress
    return filled


def _fill_in_batches(
    conn: Connection[Any],
    model: ReadModel,
    batch: Batch,
    progress: Progress,
    log: structlog.stdlib.BoundLogger,
) -> Steps:
    walk = KeysetWalk.start(conn, model, batch, log)
    table = find_table(walk.cursor, model)
    known = _read_progress(progress, model, read_identity(walk.cursor, table, walk.source))
    if "filled" in known:
        return FilledModel(**known["filled"])
    walked = _resume_walk(walk, known) if known else walk.begin()
    # Asked once more: emptied, it is another one.
    of = read_identity(walk.cursor, table, walk.source)

    def stored(walked: WalkProgress) -> Progress:
        progress[model.table] = {"of": of, "walked": asdict(walked)}
        return progress

    yield stored(walked)
    walked = yield from walk.walk(walked, stored)
    filled = yield from _compare_counts(walk, table, walked, progress)
    progress[model.table] = {"of": of, "filled": asdict(filled)}
    yield progress
    return filled


def _resume_walk(walk: KeysetWalk, known: dict[str, Any]) -> WalkProgress:
    walked = WalkProgress(**known["walked"])
    walk.log.info("backfill.resumed", table=walk.model.table, batches=walked.batches, rows=walked.rows)
    # With a time, the size has been found out; without, the configuration may have changed since.
    return walked if walk.batch.time_ms else evolve(walked, size_rows=walk.batch.rows)


def _compare_counts(
    walk: KeysetWalk, table: sql.Identifier, walked: WalkProgress, progress: Progress
) -> Steps:
    model, batches, seconds = walk.model, walked.batches, round(walked.seconds, 3)
    try:
        expected, found = compare_counts(walk.cursor, model, table)
    except IncompleteBackfill:
        # Going on from its end would never mend it: the next run begins again.
        del progress[model.table]
        yield progress
        raise
    return FilledModel(model.table, walked.rows, expected, found, batches, seconds)


def _read_progress(progress: Progress, model: ReadModel, of: str) -> dict[str, Any]:
    """Return what was stored of this read model; nothing where the tables are not those any more."""
    known = progress.get(model.table, {})
    return known if known.get("of") == of else {}
