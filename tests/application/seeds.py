"""Seeded faults of each rule about schemas, each beside a twin that is nearly the same and sound."""

from __future__ import annotations

from attrs import frozen

from tests.application.sound import SqlFile, list_table_files
from tests.application.table_text import Table


@frozen
class Seed:
    """Files with a fault, or without one if it is a twin.

    Attributes:
        files: The files.
        expected: What is to be found: the rule, the object, and a word of the message.
    """

    files: tuple[SqlFile, ...]
    expected: tuple[tuple[str, str, str], ...] = ()


def seed_table(table: Table, *rules: str, word: str = "") -> Seed:
    """Return a table with a fault that each of ``rules`` finds; a twin if there are none."""
    folder = "02_query_side" if table.name.startswith("r_") else "01_write_side"
    rel = f"public.{table.name}"
    return Seed(tuple(list_table_files(folder, table)), tuple((rule, rel, word) for rule in rules))


def seed_sql(name: str, sql: str, *expected: tuple[str, str, str], folder: str = "03_functions") -> Seed:
    """Return one file, applied last in its folder."""
    return Seed((SqlFile(folder, 9, name, sql),), expected)


def with_extra(name: str, *extra: str, columns: tuple[str, ...] = ()) -> Table:
    """Return a write table with more SQL about it."""
    return Table(f"w_{name}", columns, extra=extra)
