"""After the commit: analyze, and look again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import define
from psycopg import Connection
from psycopg.errors import Diagnostic

from confiture_analyze.faults import NotAnalyzed
from confiture_analyze.figures import Figures, Relation, of

# Nothing is at stake any more that is worth a long wait; an autovacuum in the way gives up by itself.
LOCK_TIMEOUT = "5s"
_SETTINGS = """
    SELECT set_config('lock_timeout', %s, true), set_config('client_min_messages', 'warning', true),
        set_config('role', %s, true)
"""


@define(eq=False, repr=False)
class Analyze:
    """What is called after the commit.

    Attributes:
        conn: The migration's connection, idle by then.
        relations: What is analyzed.
        role: Whose rights the migration had; ``"none"``: its own.
        look: Returns the figures afterwards, by oid.
        entries: What the report says of each relation, by name; the figures are added.
    """

    conn: Connection[Any]
    relations: tuple[Relation, ...]
    role: str
    look: Callable[[], Mapping[int, Figures]]
    entries: dict[str, dict[str, int | None]]

    def __repr__(self) -> str:
        """As a rehearsal lists it."""
        return f"ANALYZE {', '.join(relation.name for relation in self.relations)}"

    def __call__(self) -> None:
        """Analyze each in a transaction of its own.

        Raises:
            NotAnalyzed: The server did not analyze some of them.
        """
        reasons = {relation.name: why for relation in self.relations if (why := self._one(relation))}
        with self.conn.transaction():
            figures = self.look()
        for relation in self.relations:
            after = of(figures, relation)
            self.entries[relation.name] |= {"rows_after": after.rows, "bytes_after": after.size_bytes}
        if reasons:
            raise NotAnalyzed(reasons)

    def _one(self, relation: Relation) -> str | None:
        """Return why it was not analyzed; ``None`` where it was."""
        try:
            with _warnings(self.conn) as warnings, self.conn.transaction():
                self.conn.execute(_SETTINGS, [LOCK_TIMEOUT, self.role])
                self.conn.execute(f"ANALYZE {relation.name}".encode())
        except psycopg.Error as error:
            return (error.diag.message_primary or str(error)).strip()
        # What it may not analyze is passed over by the server with a warning.
        return "; ".join(warnings) or None


@contextmanager
def _warnings(conn: Connection[Any]) -> Iterator[list[str]]:
    said: list[str] = []

    def note(diag: Diagnostic) -> None:
        if diag.severity_nonlocalized == "WARNING":
            said.append(diag.message_primary or "")

    conn.add_notice_handler(note)
    try:
        yield said
    finally:
        conn.remove_notice_handler(note)
