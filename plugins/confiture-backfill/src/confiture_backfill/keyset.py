"""Fill one read model in batches along a key: each is committed with the key that it reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, evolve, frozen
from psycopg import Connection, Cursor, sql

from confiture.plugins.kit import PluginSettingsFault
from confiture_backfill.batch import Batch
from confiture_backfill.fill import find_table, insert, locate_errors, open_cursor, truncate
from confiture_backfill.read_model import ReadModel
from confiture_backfill.source_table import SourceTable, read_source_table

if TYPE_CHECKING:
    import structlog

S = TypeVar("S")
_LOG_INTERVAL_S = 1.0


@frozen
class WalkProgress:
    """How far the batches have come. It is stored with each batch: do not rename its attributes.

    Attributes:
        top: The highest key when the first batch began, at which the last one ends; ``None``: no rows.
        at: The key reached; ``None`` before the first batch.
        size_rows: How many rows of the source the next batch has.
        batches: How many batches were filled.
        rows: How many rows they wrote.
        source_rows: About how many rows of the source they read.
        seconds: How long they took, with commits and without pauses.
    """

    top: str | None
    at: str | None
    size_rows: int
    batches: int = 0
    rows: int = 0
    source_rows: int = 0
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether the end is reached."""
        return self.at == self.top


@define
class KeysetWalk:
    """One run's batches along the key of a read model's source.

    Attributes:
        cursor: The cursor that runs every statement.
        model: The read model to fill.
        batch: The batch's settings.
        source: The table along whose key the batches go.
        log: The log for progress.
    """

    cursor: Cursor[Any]
    model: ReadModel
    batch: Batch
    source: SourceTable
    log: structlog.stdlib.BoundLogger

    @classmethod
    def open(cls, conn: Connection[Any], model: ReadModel, batch: Batch, log: Any) -> KeysetWalk:
        """Return the walk along the batch's source.

        Raises:
            PluginSettingsFault: There is no such table or column, or no index on it.
        """
        cursor = open_cursor(conn)
        return cls(cursor, model, batch, read_source_table(cursor, model, batch), log)

    def begin(self) -> WalkProgress:
        """Find the last key, and empty the read model if its mode is ``"truncate"``.

        Raises:
            PluginSettingsFault: There are rows without a key, which no batch would include.
        """
        with locate_errors(self.model, "looking up"):
            self._refuse_null()
            top = self.source.find_highest_key(self.cursor)
        if self.source.indexed is None:
            self.log.warning("backfill.unindexed", source=self.batch.source, column=self.batch.column)
        if self.model.mode == "truncate":
            truncate(self.cursor, self.model, find_table(self.cursor, self.model))
        return WalkProgress(top=top, at=None, size_rows=self.batch.rows)

    def _refuse_null(self) -> None:
        if self.source.has_null(self.cursor):
            raise PluginSettingsFault(
                f"{self.model.place}: {self.batch.source} has rows without a {self.batch.column}: "
                "no batch would include them",
                hint="choose another column, one that is NOT NULL",
            )

    def fill_batches(
        self, walked: WalkProgress, store: Callable[[WalkProgress], S]
    ) -> Generator[S, None, WalkProgress]:
        """Fill one batch after the other; yield what ``store`` returns for each.

        Raises:
            BackfillFailed: The server refuses the SQL of one.
        """
        progress_log = _ProgressLog(self.source.total_rows, walked.source_rows)
        first = self._read_transaction() if self.batch.pause_ms else None
        while not walked.finished:
            began = time.perf_counter()
            walked = self._fill_batch(walked)
            yield store(walked)
            walked = self._add_duration(walked, time.perf_counter() - began)
            progress_log.write(self.log, self.model, walked)
            # In one transaction for all batches, a pause would only hold the locks longer.
            if self.batch.pause_ms and not walked.finished and self._read_transaction() != first:
                time.sleep(self.batch.pause_ms / 1000)
        return walked

    def _add_duration(self, walked: WalkProgress, took_s: float) -> WalkProgress:
        return evolve(
            walked,
            size_rows=self.batch.compute_next_rows(walked.size_rows, took_s * 1000),
            seconds=walked.seconds + took_s,
        )

    def _fill_batch(self, walked: WalkProgress) -> WalkProgress:
        assert walked.top is not None
        with locate_errors(self.model, "looking up"):
            end = self.source.find_end(self.cursor, walked.at, walked.top, walked.size_rows)
        condition = self.source.make_condition(self.cursor, walked.at, end)
        rows = insert(self.cursor, self.model, condition)
        return evolve(
            walked,
            at=end,
            batches=walked.batches + 1,
            rows=walked.rows + rows,
            source_rows=walked.source_rows + walked.size_rows,
        )

    def _read_transaction(self) -> Any:
        """Return a value that differs between two transactions."""
        with locate_errors(self.model, "looking up"):
            return self.cursor.execute("SELECT to_json(transaction_timestamp())").fetchone()


@define
class _ProgressLog:
    """Logs once a second how far the batches have come.

    Attributes:
        total_rows: The planner's estimate of the source's rows; ``None`` if there is none.
        before_rows: How many rows earlier runs have read.
    """

    total_rows: float | None
    before_rows: int
    _began: float = 0.0
    _logged: float = 0.0

    def __attrs_post_init__(self) -> None:
        self._began = self._logged = time.monotonic()

    def write(self, log: structlog.stdlib.BoundLogger, model: ReadModel, walked: WalkProgress) -> None:
        """Log the progress if the last message is a second old."""
        now = time.monotonic()
        if now - self._logged < _LOG_INTERVAL_S or walked.finished:
            return
        self._logged = now
        rate = (walked.source_rows - self.before_rows) / (now - self._began)
        log.info(
            "backfill.progressed",
            table=model.table,
            batches=walked.batches,
            rows=walked.rows,
            rate_rows_s=round(rate),
            left_s=_estimate_left_s(self.total_rows, walked.source_rows, rate),
        )


def _estimate_left_s(total_rows: float | None, source_rows: int, rate: float) -> int | None:
    """Return the seconds left; ``None`` if the planner's estimate is missing or too low."""
    if total_rows is None or total_rows < source_rows or not rate:
        return None
    return round((total_rows - source_rows) / rate)


def identify_table(cursor: Cursor[Any], table: sql.Identifier, source: SourceTable | None = None) -> str:
    """Return the identity of a read model and its source; it changes if one is recreated or emptied."""
    row = cursor.execute(
        "SELECT format('%%s/%%s', oid, relfilenode) FROM pg_catalog.pg_class WHERE oid = %s::regclass",
        [table.as_string(cursor)],
    ).fetchone()
    assert row is not None
    return f"{row[0]} {source.identity if source else ''}".rstrip()
