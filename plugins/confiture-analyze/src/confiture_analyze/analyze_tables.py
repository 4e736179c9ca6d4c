"""Analyze relations after the commit, and measure them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import define
from psycopg import Connection
from psycopg.errors import Diagnostic

from confiture_analyze.errors import NotAnalyzed
from confiture_analyze.relation_sizes import ChangedRelation, RelationSize, get_size

# The migration is committed, so nothing is worth a long wait. An autovacuum that holds the lock gives up.
LOCK_TIMEOUT = "5s"
_SETTINGS = """
    SELECT set_config('lock_timeout', %s, true), set_config('client_min_messages', 'warning', true),
        set_config('role', %s, true)
"""


@define(eq=False, repr=False)
class PendingAnalyze:
    """The callback that the runner calls after the commit.

    Attributes:
        conn: The migration's connection, idle after the commit.
        relations: What to analyze.
        role: The role that the migration ran as; ``"none"``: the one that connected.
        measure: Returns the sizes afterwards, by oid.
        entries: The report's entry of each relation, by name; the sizes afterwards are added.
    """

    conn: Connection[Any]
    relations: tuple[ChangedRelation, ...]
    role: str
    measure: Callable[[], Mapping[int, RelationSize]]
    entries: dict[str, dict[str, int | None]]

    def __repr__(self) -> str:
        """Return the statement, for a rehearsal's list of what it does not call."""
        return f"ANALYZE {', '.join(relation.name for relation in self.relations)}"

    def __call__(self) -> None:
        """Analyze each relation in a separate transaction.

        Raises:
            NotAnalyzed: The server did not analyze some of them.
        """
        reasons = {
            relation.name: reason for relation in self.relations if (reason := self._analyze(relation))
        }
        with self.conn.transaction():
            sizes = self.measure()
        for relation in self.relations:
            after = get_size(sizes, relation)
            self.entries[relation.name] |= {"rows_after": after.rows, "bytes_after": after.size_bytes}
        if reasons:
            raise NotAnalyzed(reasons)

    def _analyze(self, relation: ChangedRelation) -> str | None:
        """Analyze a relation; return why the server did not, ``None`` if it did."""
        try:
            with _collect_warnings(self.conn) as warnings, self.conn.transaction():
                self.conn.execute(_SETTINGS, [LOCK_TIMEOUT, self.role])
                self.conn.execute(f"ANALYZE {relation.name}".encode())
        except psycopg.Error as error:
            return (error.diag.message_primary or str(error)).strip()
        # The server skips what the role may not analyze with a warning, not with an error.
        return "; ".join(warnings) or None


@contextmanager
def _collect_warnings(conn: Connection[Any]) -> Iterator[list[str]]:
    warnings: list[str] = []

    def add_warning(diag: Diagnostic) -> None:
        if diag.severity_nonlocalized == "WARNING":
            warnings.append(diag.message_primary or "")

    conn.add_notice_handler(add_warning)
    try:
        yield warnings
    finally:
        conn.remove_notice_handler(add_warning)
