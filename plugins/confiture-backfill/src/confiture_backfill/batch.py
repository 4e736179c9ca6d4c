"""Read how to fill a large read model in batches: along which key, and how many rows at a time."""

from __future__ import annotations

from typing import TypeVar

from attrs import evolve, frozen

from confiture.plugins.kit import DURATION_MS, POSITIVE, TEXT, Kind, TableReader

BATCH_KEYS = {
    "source": "The write table along whose key the batches go.",
    "column": "Its key: an indexed column of any type that has an order.",
    "key": "The key as the INSERT calls it, `o.id`; the column if not set.",
    "rows": "How many rows of the source a batch has; 10000 if not set.",
    "time": 'How long a batch should take, "500ms": the number of rows is adjusted to it.',
    "pause": 'How long to wait between two batches, "100ms".',
}

T = TypeVar("T")
DEFAULT_ROWS = 10_000
FIRST_ROWS = 1_000


@frozen
class Batch:
    """How to fill a read model in batches.

    Attributes:
        source: The table along whose key the batches go, as PostgreSQL reads a name.
        column: The key, as PostgreSQL reads a name.
        key: The key as the INSERT calls it: any SQL.
        rows: Rows of the source in a batch; with ``time_ms``, in the first batch.
        time_ms: How long a batch should take, in milliseconds; ``None``: every batch has ``rows`` rows.
        pause_ms: How long to wait between two batches, in milliseconds.
    """

    source: str
    column: str
    key: str
    rows: int
    time_ms: float | None = None
    pause_ms: float = 0.0

    def compute_next_rows(self, rows: int, took_ms: float) -> int:
        """Return the size of the batch after one of ``rows`` rows: at most twice, at least half of it."""
        if self.time_ms is None:
            return self.rows
        return max(1, round(rows * min(2.0, max(0.5, self.time_ms / max(took_ms, 0.001)))))


def read_batch(table: TableReader, *, prefix: str = "") -> Batch:
    """Return the batch of a table of settings, or of a file's directives, whose keys have a prefix.

    Raises:
        PluginSettingsFault: A key is missing, or its value cannot be used.
    """
    column = table.require(f"{prefix}column", _adapt(_NAME, prefix))
    time_ms = table.get(f"{prefix}time", _adapt(_TIME_MS, prefix), None)
    return Batch(
        source=table.require(f"{prefix}source", _adapt(_NAME, prefix)),
        column=column,
        key=table.get(f"{prefix}key", _adapt(_NAME, prefix), column),
        rows=table.get(f"{prefix}rows", _ROWS, DEFAULT_ROWS if time_ms is None else FIRST_ROWS),
        time_ms=time_ms,
        pause_ms=table.get(f"{prefix}pause", _adapt(DURATION_MS, prefix), 0.0),
    )


def _adapt(kind: Kind[T], prefix: str) -> Kind[T]:
    return unquote_example(kind) if prefix else kind


def unquote_example(kind: Kind[T]) -> Kind[T]:
    """Return the kind with its example as a directive has it: without the quotes of TOML."""
    return evolve(kind, example=kind.example.strip('"'))


def _read_name(value: object) -> str:
    return TEXT.read(value).strip()


def _read_rows(value: object) -> int:
    # A directive's value is a string.
    is_number = isinstance(value, str) and value.isascii() and value.isdigit()
    return POSITIVE.read(int(str(value)) if is_number else value)


def _read_time_ms(value: object) -> float:
    time_ms = DURATION_MS.read(value)
    if time_ms == 0:
        raise ValueError(f"{value!r} is no time for any row")
    return time_ms


_NAME = evolve(TEXT, read=_read_name)
_ROWS = evolve(POSITIVE, example=str(DEFAULT_ROWS), read=_read_rows)
_TIME_MS = Kind('a time above 0 such as "500ms"', '"500ms"', _read_time_ms)
