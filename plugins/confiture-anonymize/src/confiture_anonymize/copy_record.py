"""Record in the target what has been copied, so that an unfinished copy is never taken for a whole one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture_anonymize.source_schema import quote

COPY_TABLE = "anonymized_copy"


@frozen
class CopyRecord:
    """What the target knows of its copy.

    Attributes:
        profile: The profile's name.
        plan: The digest of what was to be done with it.
        finished: False if the copy was not finished.
        rows: By table, how many rows were copied; only of tables that were copied whole.
    """

    profile: str
    plan: str
    finished: bool
    rows: Mapping[str, int]


@frozen
class RecordTable:
    """The tables of the record.

    Attributes:
        conn: To the target.
        schema: The schema of confiture's ledger.
    """

    conn: Connection[Any]
    schema: str

    @property
    def _copy(self) -> str:
        return f"{quote(self.schema)}.{COPY_TABLE}"

    @property
    def _rows(self) -> str:
        return f"{quote(self.schema)}.anonymized_table"

    def read(self) -> CopyRecord | None:
        """Return the record of the last copy; ``None`` if there was none."""
        if not _fetch_value(self.conn, "SELECT pg_catalog.to_regclass(%s) IS NOT NULL", self._copy):
            return None
        found = self.conn.execute(
            f"SELECT profile, plan, finished_at IS NOT NULL FROM {self._copy}".encode()
        ).fetchone()
        if found is None:
            return None
        rows = self.conn.execute(f"SELECT name, rows FROM {self._rows}".encode()).fetchall()
        profile, plan, finished = found
        return CopyRecord(profile, plan, finished, dict(rows))

    def begin(self, profile: str, plan: str) -> None:
        """Mark the target as an unfinished copy."""
        with self.conn.transaction():
            self.conn.execute(
                f"""CREATE SCHEMA IF NOT EXISTS {quote(self.schema)};
                CREATE TABLE IF NOT EXISTS {self._copy} (profile text PRIMARY KEY, plan text NOT NULL,
                    started_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz);
                CREATE TABLE IF NOT EXISTS {self._rows} (name text PRIMARY KEY, rows bigint NOT NULL);
                TRUNCATE {self._copy}, {self._rows}""".encode()
            )
            insert = f"INSERT INTO {self._copy} (profile, plan) VALUES (%s, %s)"
            self.conn.execute(insert.encode(), (profile, plan))

    def add_table(self, name: str, rows: int) -> None:
        """Record that a table is whole; in the transaction that filled it."""
        self.conn.execute(f"INSERT INTO {self._rows} VALUES (%s, %s)".encode(), (name, rows))

    def finish(self) -> None:
        """Mark the copy as whole."""
        self.conn.execute(f"UPDATE {self._copy} SET finished_at = now()".encode())

    def clear(self) -> None:
        """Forget the copy."""
        self.conn.execute(f"DROP TABLE IF EXISTS {self._copy}, {self._rows}".encode())


def _fetch_value(conn: Connection[Any], query: str, *parameters: object) -> Any:
    row = conn.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None
