"""The document of the predictions file: kept migrations become JSON, and JSON becomes kept migrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import asdict

from confiture.estimate.own_history import KeptMigration, KeptStatement
from confiture.estimate.prior import OwnHistory

ESTIMATES_VERSION = 1
# A stored prediction with a number beyond these is damaged. 1e10 ms are 115 days.
_LEAST_MS, _MOST_MS = 1e-6, 1e10
_MOST_ROWS = 1e15
_MOST_SHIFT = 10.0
_MOST_SPREAD = 100.0


def build_document(all_kept: Iterable[KeptMigration]) -> dict[str, Any]:
    """Return kept migrations as the document of the predictions file."""
    return {
        "estimates_version": ESTIMATES_VERSION,
        "migrations": [asdict(migration) for migration in all_kept],
    }


def parse_document(document: Mapping[str, Any]) -> tuple[KeptMigration, ...]:
    """Return the kept migrations of a document that ``build_document`` made, without those that are damaged.

    Raises:
        KeyError, TypeError, ValueError: If the document has another form or version.
    """
    if document["estimates_version"] != ESTIMATES_VERSION:
        raise ValueError(f"version {document['estimates_version']}")
    parsed = map(_parse_migration, document["migrations"])
    return tuple(migration for migration in parsed if migration is not None)


def _parse_migration(document: Mapping[str, Any]) -> KeptMigration | None:
    """Return a migration; ``None`` if it cannot be one: the file may be merged or edited by hand."""
    try:
        statements = tuple(map(_parse_statement, document["statements"]))
        migration = KeptMigration(**{**document, "statements": statements})
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None
    texts = (migration.version, migration.name, migration.checksum, migration.ran_at or "")
    return migration if all(isinstance(text, str) for text in texts) else None


def _parse_statement(document: Mapping[str, Any]) -> KeptStatement:
    intervals = {
        key: document[key] and tuple(map(float, document[key])) for key in ("interval50_ms", "interval90_ms")
    }
    statement = KeptStatement(**{**document, **intervals, "own": OwnHistory(**document["own"])})
    _check_numbers(statement)
    return statement


def _check_numbers(statement: KeptStatement) -> None:
    """Raise ``ValueError`` for numbers that nobody can have measured or predicted."""
    for low, high in (statement.interval90_ms, statement.interval50_ms or (0.0, 0.0)):
        _check_between(0.0, low, high)
        _check_between(low, high, _MOST_MS)
    for value, least, most in (
        (statement.p50_ms, _LEAST_MS, _MOST_MS),
        (statement.actual_ms, 0.0, _MOST_MS),
        (statement.rows, 1.0, _MOST_ROWS),
        (statement.actual_rows, 0.0, _MOST_ROWS),
        (statement.own.shift, -_MOST_SHIFT, _MOST_SHIFT),
        (statement.own.spread, 1 / _MOST_SPREAD, _MOST_SPREAD),
    ):
        if value is not None:
            _check_between(least, value, most)


def _check_between(least: float, value: float, most: float) -> None:
    # Not-a-number is between nothing.
    if not least <= value <= most:
        raise ValueError(f"{value} is not between {least} and {most}")
