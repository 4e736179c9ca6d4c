"""Fill several read models one after the other, and resume each after a crash."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve
from psycopg import Connection, sql

from confiture_backfill.batch import Batch
from confiture_backfill.errors import IncompleteBackfill
from confiture_backfill.fill import FillResult, compare_counts, fill, find_table, open_cursor
from confiture_backfill.keyset import KeysetWalk, WalkProgress, identify_table
from confiture_backfill.read_model import ReadModel

if TYPE_CHECKING:
    import structlog

# The progress of each read model by its table. It is stored in the database, and a later version of this
# plugin reads it: do not rename its keys.
StoredProgress = dict[str, dict[str, Any]]
FillSteps = Generator[StoredProgress, None, FillResult]


def fill_models(
    conn: Connection[Any], models: Iterable[ReadModel], resume: Any, log: structlog.stdlib.BoundLogger
) -> Generator[StoredProgress, None, list[FillResult]]:
    """Fill the read models; yield the progress of all whenever it can be committed.

    Raises:
        UserFault: One cannot be filled; what was yielded before is kept.
    """
    progress: StoredProgress = dict(resume or {})
    results = []
    for model in models:
        if model.batch is None:
            steps = _fill_in_one_piece(conn, model, progress)
        else:
            steps = _fill_in_batches(conn, model, model.batch, progress, log)
        results.append((yield from steps))
    return results


def _fill_in_one_piece(conn: Connection[Any], model: ReadModel, progress: StoredProgress) -> FillSteps:
    with open_cursor(conn) as cursor:
        table = find_table(cursor, model)
        stored = _get_stored(progress, model, identify_table(cursor, table))
        if "filled" in stored:
            return FillResult(**stored["filled"])
        result = fill(conn, model)
        progress[model.table] = {"of": identify_table(cursor, table), "filled": asdict(result)}
    yield progress
    return result


def _fill_in_batches(
    conn: Connection[Any],
    model: ReadModel,
    batch: Batch,
    progress: StoredProgress,
    log: structlog.stdlib.BoundLogger,
) -> FillSteps:
    walk = KeysetWalk.open(conn, model, batch, log)
    table = find_table(walk.cursor, model)
    stored = _get_stored(progress, model, identify_table(walk.cursor, table, walk.source))
    if "filled" in stored:
        return FillResult(**stored["filled"])
    walked = _resume(walk, stored) if stored else walk.begin()
    # Read again, because TRUNCATE in begin() gives the table a new identity.
    identity = identify_table(walk.cursor, table, walk.source)

    def store(walked: WalkProgress) -> StoredProgress:
        progress[model.table] = {"of": identity, "walked": asdict(walked)}
        return progress

    yield store(walked)
    walked = yield from walk.fill_batches(walked, store)
    result = yield from _check(walk, table, walked, progress)
    progress[model.table] = {"of": identity, "filled": asdict(result)}
    yield progress
    return result


def _resume(walk: KeysetWalk, stored: dict[str, Any]) -> WalkProgress:
    walked = WalkProgress(**stored["walked"])
    walk.log.info("backfill.resumed", table=walk.model.table, batches=walked.batches, rows=walked.rows)
    # With a time, the stored size is the adjusted one. Without, the settings may have changed since.
    return walked if walk.batch.time_ms else evolve(walked, size_rows=walk.batch.rows)


def _check(
    walk: KeysetWalk, table: sql.Identifier, walked: WalkProgress, progress: StoredProgress
) -> FillSteps:
    model, batches, seconds = walk.model, walked.batches, round(walked.seconds, 3)
    try:
        expected, found = compare_counts(walk.cursor, model, table)
    except IncompleteBackfill:
        # To resume after the last batch would never correct it, so the next run begins again.
        del progress[model.table]
        yield progress
        raise
    return FillResult(model.table, walked.rows, expected, found, batches, seconds)


def _get_stored(progress: StoredProgress, model: ReadModel, identity: str) -> dict[str, Any]:
    """Return what is stored of this read model; nothing if its tables were dropped or emptied since."""
    stored = progress.get(model.table, {})
    return stored if stored.get("of") == identity else {}
