"""Suggest a profile from names, types, comments and a sample, without showing a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from psycopg import Connection

from confiture_anonymize.check_digits import is_iban, is_luhn
from confiture_anonymize.personal_columns import may_be_personal, propose_rule, render_rule
from confiture_anonymize.source_schema import Column, Table, quote

# So many of the sampled values must look alike before a column is taken for what they are.
_SHARE = 0.6
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_PHONE = re.compile(r"\+?[\d][\d\s()./-]{6,18}\d")
_CARD = re.compile(r"[\d][\d -]{11,22}\d")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_DETECTORS: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    ("e-mail addresses", lambda text: bool(_EMAIL.fullmatch(text)), '"email"'),
    ("IBANs", is_iban, '{ strategy = "pattern", check = "iban" }'),
    (
        "card numbers",
        lambda text: bool(_CARD.fullmatch(text)) and is_luhn(text),
        '{ strategy = "pattern", check = "luhn" }',
    ),
    ("IP addresses", _is_address, '"hash"'),
    ("phone numbers", lambda text: bool(_PHONE.fullmatch(text)), '"phone"'),
)


def render_profile(conn: Connection[Any], tables: Sequence[Table], label: str, sample_rows: int) -> str:
    """Return a profile as TOML: what was recognized, and as comments what somebody has to decide."""
    lines = [f"[{label}.columns]"]
    for table in tables:
        columns = [column for column in table.columns if may_be_personal(column)]
        if columns:
            lines += ["", f"# {table.label}", *_render_table(conn, table, columns, sample_rows)]
    return "\n".join(lines) + "\n"


def _render_table(
    conn: Connection[Any], table: Table, columns: Sequence[Column], sample_rows: int
) -> Iterator[str]:
    samples = _read_sample(conn, table, columns, sample_rows)
    for column, values in zip(columns, samples, strict=True):
        found = detect(values) if column.sort == "text" else None
        rule = found[1] if found else propose_rule(column)
        why = f"the sample holds {found[0]}" if found else f"{column.type}, by its name" if rule else ""
        line = render_rule(table.name, column, rule)
        yield f"{line}  # {why}" if rule else f"# {line}  # {column.type}, nothing recognized: decide"


def detect(values: Sequence[str]) -> tuple[str, str] | None:
    """Return what most of the values are, in words, and the rule for it; ``None`` if it is not known."""
    texts = [value.strip() for value in values if value.strip()]
    for words, matches, rule in _DETECTORS:
        if texts and sum(map(matches, texts)) >= _SHARE * len(texts):
            return words, rule
    return None


def _read_sample(
    conn: Connection[Any], table: Table, columns: Sequence[Column], rows: int
) -> list[list[str]]:
    """Return some values of each column."""
    names = ", ".join(f"pg_catalog.left({quote(column.name)}::text, 200)" for column in columns)
    query = f"SELECT {names} FROM {table.rows_sql} LIMIT {rows:d}"
    found = conn.execute(query.encode()).fetchall()
    return [[row[index] for row in found if row[index]] for index in range(len(columns))]
