"""Runs ANALYZE after the commit, and measures again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import define
from psycopg import Connection
from psycopg.errors import Diagnostic

from confiture_analyze.errors import NotAnalyzed
from confiture_analyze.figures import AnalyzedRelation, Figures, get_figures

# The migration is committed, so a long wait is not worth it; a blocking autovacuum cancels itself.
LOCK_TIMEOUT = "5s"
_SETTINGS = """
    SELECT set_config('lock_timeout', %s, true), set_config('client_min_messages', 'warning', true),
        set_config('role', %s, true)
"""


@define(eq=False, repr=False)
class Analyze:
    """The callback that runs after the commit.

    Attributes:
        conn: The migration's connection, idle by then.
        relations: What is analyzed.
        role: Whose rights the migration had; ``"none"``: its own.
        look: Returns the figures afterwards, by oid.
        entries: What the report says of each relation, by name; the figures are added.
    """

    conn: Connection[Any]
    relations: tuple[AnalyzedRelation, ...]
    role: str
    measure_again: Callable[[], Mapping[int, Figures]]
    entries: dict[str, dict[str, int | None]]

    def __repr__(self) -> str:
        """As a rehearsal lists it."""
        return f"ANALYZE {', '.join(relation.name for relation in self.relations)}"

    def __call__(self) -> None:
        """Analyze each in a transaction of its own.

        Raises:
            NotAnalyzed: The server did not analyze some of them.
        """
        reasons = {relation.name: why for relation in self.relations if (why := self._analyze(relation))}
        with self.conn.transaction():
            figures = self.measure_again()
        for relation in self.relations:
            after = get_figures(figures, relation)
            self.entries[relation.name] |= {"rows_after": after.rows, "bytes_after": after.size_bytes}
        if reasons:
            raise NotAnalyzed(reasons)

    def _analyze(self, relation: AnalyzedRelation) -> str | None:
        """Return why it was not analyzed, ``None`` if it was."""
        try:
            with _collect_warnings(self.conn) as warnings, self.conn.transaction():
                self.conn.execute(_SETTINGS, [LOCK_TIMEOUT, self.role])
                self.conn.execute(f"ANALYZE {relation.name}".encode())
        except psycopg.Error as error:
            return (error.diag.message_primary or str(error)).strip()
        # The server skips what the role may not analyze, with a warning and no error.
        return "; ".join(warnings) or None


@contextmanager
def _collect_warnings(conn: Connection[Any]) -> Iterator[list[str]]:
    messages: list[str] = []

    def note(diag: Diagnostic) -> None:
        if diag.severity_nonlocalized == "WARNING":
            messages.append(diag.message_primary or "")

    conn.add_notice_handler(note)
    try:
        yield messages
    finally:
        conn.remove_notice_handler(note)
