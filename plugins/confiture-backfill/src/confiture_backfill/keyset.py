"""Fill one read model in batches: each is committed with the key that it reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, evolve, frozen
from psycopg import Connection, Cursor, sql

from confiture.plugins.kit import PluginSettingsFault
from confiture_backfill.batch import Batch
from confiture_backfill.fill import empty_table, find_table, locate_errors, open_plain_cursor, run_insert
from confiture_backfill.read_model import ReadModel
from confiture_backfill.source_table import SourceTable, find_source

if TYPE_CHECKING:
    import structlog

_S = TypeVar("_S")
_TOLD_EVERY_S = 1.0


@frozen
class WalkProgress:
    """How far the walk has come: what is stored with each batch.

    Attributes:
        top: The highest key when it began, where it ends; ``None`` in an empty table.
        at: The key reached; ``None`` before the first batch.
        size_rows: How many rows of the source the next batch has.
        batches: How many were filled.
        rows: How many rows they wrote.
        source_rows: About how many rows of the source they read.
        seconds: How long they took, commits included and pauses not.
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
        """Whether the end was reached."""
        return self.at == self.top


@define
class KeysetWalk:
    """The walk of one run along the key of one read model's source.

    Attributes:
        cursor: Where it happens.
        model: What is filled.
        batch: How.
        source: What is walked.
        log: Where progress is told.
    """

    cursor: Cursor[Any]
    model: ReadModel
    batch: Batch
    source: SourceTable
    log: structlog.stdlib.BoundLogger

    @classmethod
    def start(cls, conn: Connection[Any], model: ReadModel, batch: Batch, log: Any) -> KeysetWalk:
        """Look up what is walked.

        Raises:
            PluginSettingsFault: It cannot be.
        """
        cursor = open_plain_cursor(conn)
        return cls(cursor, model, batch, find_source(cursor, model, batch), log)

    def begin(self) -> WalkProgress:
        """Fix the end, and empty the table where that is asked for.

        Raises:
            PluginSettingsFault: There are rows that no range would hold.
        """
        with locate_errors(self.model, "looking up"):
            self._refuse_null()
            top = self.source.find_highest(self.cursor)
        if self.source.indexed is None:
            self.log.warning("backfill.unindexed", source=self.batch.source, column=self.batch.column)
        if self.model.mode == "truncate":
            empty_table(self.cursor, self.model, find_table(self.cursor, self.model))
        return WalkProgress(top=top, at=None, size_rows=self.batch.rows)

    def _refuse_null(self) -> None:
        if self.source.has_null(self.cursor):
            raise PluginSettingsFault(
                f"{self.model.source}: {self.batch.source} has rows without a {self.batch.column}: "
                "no batch would hold them",
                hint="walk another column, one that is NOT NULL",
            )

    def walk(
        self, walked: WalkProgress, stored: Callable[[WalkProgress], _S]
    ) -> Generator[_S, None, WalkProgress]:
        """Fill one batch after the other; yield what is to be stored after each.

        Raises:
            BackfillFailed: The server refuses one.
        """
        telling = _ProgressLog(self.source.total_rows, walked.source_rows)
        first = self._open_transaction() if self.batch.pause_ms else None
        while not walked.finished:
            began = time.perf_counter()
            walked = self._step(walked)
            yield stored(walked)
            walked = self._add_measurement(walked, time.perf_counter() - began)
            telling.report(self.log, self.model, walked)
            # Where nothing is committed, waiting would only hold the locks longer.
            if self.batch.pause_ms and not walked.finished and self._open_transaction() != first:
                time.sleep(self.batch.pause_ms / 1000)
        return walked

    def _add_measurement(self, walked: WalkProgress, took_s: float) -> WalkProgress:
        return evolve(
            walked,
            size_rows=self.batch.next_rows(walked.size_rows, took_s * 1000),
            seconds=walked.seconds + took_s,
        )

    def _step(self, walked: WalkProgress) -> WalkProgress:
        assert walked.top is not None
        with locate_errors(self.model, "looking up"):
            end = self.source.find_batch_end(self.cursor, walked.at, walked.top, walked.size_rows)
        rows = run_insert(self.cursor, self.model, self.source.render_range(self.cursor, walked.at, end))
        return evolve(
            walked,
            at=end,
            batches=walked.batches + 1,
            rows=walked.rows + rows,
            source_rows=walked.source_rows + walked.size_rows,
        )

    def _open_transaction(self) -> Any:
        """Return what tells one transaction from the next."""
        with locate_errors(self.model, "looking up"):
            return self.cursor.execute("SELECT to_json(transaction_timestamp())").fetchone()


@define
class _ProgressLog:
    """Tells once a second how far a walk has come.

    Attributes:
        total_rows: Of the source, as the planner thinks; ``None`` where it does not know.
        before_rows: How many had been read when this run began.
    """

    total_rows: float | None
    before_rows: int
    _began: float = 0.0
    _told: float = 0.0

    def __attrs_post_init__(self) -> None:
        self._began = self._told = time.monotonic()

    def report(self, log: structlog.stdlib.BoundLogger, model: ReadModel, walked: WalkProgress) -> None:
        now = time.monotonic()
        if now - self._told < _TOLD_EVERY_S or walked.finished:
            return
        self._told = now
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
    """Return the seconds that are left; ``None`` where the planner knows too little to say."""
    if total_rows is None or total_rows < source_rows or not rate:
        return None
    return round((total_rows - source_rows) / rate)


def read_identity(cursor: Cursor[Any], table: sql.Identifier, source: SourceTable | None = None) -> str:
    """Return which table it is, and which is walked: made anew or emptied, it is another one."""
    row = cursor.execute(
        "SELECT format('%%s/%%s', oid, relfilenode) FROM pg_catalog.pg_class WHERE oid = %s::regclass",
        [table.as_string(cursor)],
    ).fetchone()
    assert row is not None
    return f"{row[0]} {source.identity if source else ''}".rstrip()
