"""How a large read model is filled piece by piece: over which key, and how much at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen

from confiture.did_you_mean import did_you_mean
from confiture.units import parse_milliseconds
from confiture_backfill.faults import Misconfigured

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

Named = Callable[[str], str]


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


def batch(given: Mapping[str, object], named: Named) -> Batch:
    """Return the batches that a table of the configuration, or a file's directives, ask for.

    ``named`` says how a key is called there, for messages.

    Raises:
        Misconfigured: One key is unknown, missing or unusable.
    """
    for key in given:
        if key not in BATCH_KEYS:
            near = did_you_mean(key, BATCH_KEYS) or f"the keys are {', '.join(BATCH_KEYS)}"
            raise Misconfigured(f"{named(key)} is unknown", hint=near)
    time_ms = _time_ms(given, "time", named)
    if time_ms == 0:
        raise Misconfigured(f"{named('time')} is no time at all", hint=BATCH_KEYS["time"])
    column = _text(given, "column", named)
    return Batch(
        source=_text(given, "source", named),
        column=column,
        key=_text(given, "key", named) if "key" in given else column,
        rows=_rows(given, named) or (DEFAULT_ROWS if time_ms is None else FIRST_ROWS),
        time_ms=time_ms,
        pause_ms=_time_ms(given, "pause", named) or 0.0,
    )


def _text(given: Mapping[str, object], key: str, named: Named) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not value.strip():
        what = "missing" if key not in given else "not a text in quotes"
        raise Misconfigured(f"{named(key)} is {what}", hint=BATCH_KEYS[key])
    return value.strip()


def _rows(given: Mapping[str, object], named: Named) -> int | None:
    value = given.get("rows")
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if value is not None and (type(value) is not int or value < 1):
        raise Misconfigured(f"{named('rows')} is not a whole number above 0", hint=BATCH_KEYS["rows"])
    return value


def _time_ms(given: Mapping[str, object], key: str, named: Named) -> float | None:
    if key not in given:
        return None
    try:
        return parse_milliseconds(_text(given, key, named))
    except ValueError as error:
        raise Misconfigured(f"{named(key)}: {error}", hint=BATCH_KEYS[key]) from None
