"""Suggest a profile from names, types, comments and a sample, without showing a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import Connection

from confiture_anonymize.detect_values import detect
from confiture_anonymize.personal_columns import may_be_personal, propose_rule, render_rule
from confiture_anonymize.source_schema import Column, Sort, Table, quote

_DETECTED: tuple[Sort, ...] = ("text", "json", "integer")


def render_profile(conn: Connection[Any], tables: Sequence[Table], label: str, sample_rows: int) -> str:
    """Return a profile as TOML: what was recognized, and as comments what somebody has to decide."""
    lines = [f"[{label}.columns]"]
    for table in tables:
        found = list(_render_table(conn, table, sample_rows))
        if found:
            lines += ["", f"# {table.label}", *found]
    return "\n".join(lines) + "\n"


def _render_table(conn: Connection[Any], table: Table, sample_rows: int) -> Iterator[str]:
    # A whole number is looked at too: it may be that of a card.
    columns = [column for column in table.columns if may_be_personal(column) or column.sort == "integer"]
    samples = _read_sample(conn, table, columns, sample_rows) if columns else []
    for column, values in zip(columns, samples, strict=True):
        found = detect(values, column.sort) if column.sort in _DETECTED else None
        rule = found[1] if found else propose_rule(column)
        known_by = "type" if column.sort == "inet" else "name"
        why = f"the sample holds {found[0]}" if found else f"{column.type}, by its {known_by}"
        line = render_rule(table.name, column, rule)
        if rule:
            yield f"{line}  # {why}"
        elif may_be_personal(column):
            yield f"# {line}  # {column.type}, nothing recognized: decide"


def _read_sample(
    conn: Connection[Any], table: Table, columns: Sequence[Column], rows: int
) -> list[list[str]]:
    """Return some values of each column."""
    names = ", ".join(f"pg_catalog.left({quote(column.name)}::text, 200)" for column in columns)
    query = f"SELECT {names} FROM {table.rows_sql} LIMIT {rows:d}"
    found = conn.execute(query.encode()).fetchall()
    return [[row[index] for row in found if row[index]] for index in range(len(columns))]
