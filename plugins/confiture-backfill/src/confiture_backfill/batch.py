"""How a large read model is filled in batches: over which key, and how many rows at a time."""

from __future__ import annotations

from attrs import evolve, frozen

from confiture.plugins.kit import DURATION_MS, POSITIVE, TEXT, TableReader

BATCH_KEYS = {
    "source": "The write table whose key is walked.",
    "column": "Its key: an indexed column of any type that has an order.",
    "key": "The same as the INSERT calls it, `o.id`; the column without it.",
    "rows": "How many rows of the source a batch holds (10000).",
    "time": 'How long a batch is to take, "500ms": the number of rows follows it.',
    "pause": 'How long to wait between two batches, "100ms".',
}
DEFAULT_ROWS = 10_000
FIRST_ROWS = 1_000


@frozen
class Batch:
    """How a read model is filled piece by piece.

    Attributes:
        source: The table whose key is walked, as PostgreSQL reads a name.
        column: The key, the same.
        key: The key as the INSERT calls it: any SQL.
        rows: Rows of the source in a batch; in the first one where there is a ``time_ms``.
        time_ms: How long a batch is to take, in milliseconds; ``None``: ``rows`` is the size of all.
        pause_ms: How long to wait between two batches, in milliseconds.
    """

    source: str
    column: str
    key: str
    rows: int
    time_ms: float | None = None
    pause_ms: float = 0.0

    def next_rows(self, rows: int, took_ms: float) -> int:
        """Return the size of the batch after one of ``rows`` rows: at most twice, at least half of it."""
        if self.time_ms is None:
            return self.rows
        return max(1, round(rows * min(2.0, max(0.5, self.time_ms / max(took_ms, 0.001)))))


def read_batch(table: TableReader) -> Batch:
    """Return the batches that a table of settings, or the directives of a file, describe.

    Raises:
        PluginSettingsFault: A key is missing, or its value cannot be used.
    """
    time_ms = table.get("time", _TIME, None)
    if time_ms == 0:
        raise table.refuse("time", "is no time at all")
    column = table.require("column", TEXT).strip()
    return Batch(
        source=table.require("source", TEXT).strip(),
        column=column,
        key=table.get("key", TEXT, column).strip(),
        rows=table.get("rows", _ROWS, DEFAULT_ROWS if time_ms is None else FIRST_ROWS),
        time_ms=time_ms,
        pause_ms=table.get("pause", _TIME, 0.0),
    )


def _read_rows(value: object) -> int:
    # A directive of a file is always text: `-- backfill: batch-rows=500`.
    return POSITIVE.read(
        int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    )


def _read_time(value: object) -> float:
    # A bare number would be milliseconds, which nobody means by time = 5.
    if not isinstance(value, str):
        raise ValueError
    return DURATION_MS.read(value)


_ROWS = evolve(POSITIVE, example="10000", read=_read_rows)
_TIME = evolve(DURATION_MS, example='"500ms"', read=_read_time)
