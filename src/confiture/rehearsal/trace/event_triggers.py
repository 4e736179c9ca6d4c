"""Look from within: event triggers tell what is locked inside functions, DO and EXCEPTION blocks.

They live in the rehearsal's transaction, on a function in ``pg_temp``, and go with it. ``RAISE INFO``
reaches the client whatever client_min_messages says.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import define, field
from psycopg import Connection
from psycopg.errors import Diagnostic

from confiture.postgres.session import literal, send
from confiture.rehearsal.trace.snapshot import FACTS, MINE, Look

_EVENTS = ("ddl_command_start", "ddl_command_end", "table_rewrite")

# PostgreSQL's AT_REWRITE_… bits, as pg_event_trigger_table_rewrite_reason() returns them.
_REASONS = {
    1: "its persistence changes",
    2: "a new column has a volatile default",
    4: "a column's type changes",
    8: "its access method changes",
}


@define
class Events:
    """Looks taken inside statements, in the order in which they were.

    Attributes:
        conn: The session that is rehearsed.
        looks: Since they were last taken away.
        reasons: Why a table was rewritten, by its oid.
        begun: How many DDL commands have begun and not ended: those that failed.
        refused: Why there are none: what the server said to a role that may not.
    """

    conn: Connection[Any]
    looks: list[Look] = field(factory=list)
    reasons: dict[int, str] = field(factory=dict)
    begun: int = 0
    refused: str | None = None
    _token: str = field(factory=lambda: f"confiture_{secrets.token_hex(8)}")
    _there: bool = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen to what the triggers say meanwhile."""
        self.conn.add_notice_handler(self._hear)
        try:
            yield
        finally:
            self.conn.remove_notice_handler(self._hear)

    def forget(self) -> None:
        """Take note that the transaction, or DISCARD TEMP, has taken the triggers away."""
        self._there = False

    def take_away(self) -> None:
        """Drop the triggers before a commit that would keep them."""
        if self._there:
            send(self.conn, f"DROP FUNCTION pg_temp.{self._token} CASCADE")
            self._there = False

    def set(self) -> None:
        """Have the triggers from now on, where this role may create them."""
        if self._there or self.refused:
            return
        point = f"{self._token}_set"
        try:
            send(self.conn, f"SAVEPOINT {point}; {self._sql()} RELEASE {point}")
            self._there = True
        except psycopg.Error as error:
            send(self.conn, f"ROLLBACK TO {point}; RELEASE {point}")
            self.refused = (error.diag.message_primary or str(error)).partition(' "')[0].strip()

    def taken(self) -> tuple[Look, ...]:
        """Return the looks since the last time."""
        looks, self.looks = tuple(self.looks), []
        return looks

    def reasons_taken(self) -> dict[int, str]:
        """Return why tables were rewritten since the last time."""
        reasons, self.reasons = self.reasons, {}
        return reasons

    def saw_all(self) -> bool:
        """Whether every DDL command since the last time was seen to its end."""
        begun, self.begun = self.begun, 0
        return begun == 0 and not self.refused

    def _sql(self) -> str:
        name = f"pg_temp.{self._token}"
        facts = " || ',' || ".join(f"coalesce(({each})::text, '')" for each in FACTS)
        rewrite = (
            "pg_catalog.pg_event_trigger_table_rewrite_oid() || ',' || "
            "pg_catalog.pg_event_trigger_table_rewrite_reason()"
        )
        body = f"""
            DECLARE facts text; rewrite text := '';
            BEGIN
                IF tg_event = 'table_rewrite' THEN rewrite := {rewrite}; END IF;
                SELECT string_agg({facts}, ';') INTO facts {MINE};
                RAISE INFO USING MESSAGE =
                    concat_ws(' ', {literal(self._token)}, '/', tg_event, '/', rewrite, '/', facts);
            END
        """
        each = "".join(
            f"CREATE EVENT TRIGGER {self._token}_{event} ON {event} EXECUTE FUNCTION {name}();"
            for event in _EVENTS
        )
        return (
            f"CREATE FUNCTION {name}() RETURNS event_trigger LANGUAGE plpgsql "
            f"SET search_path = pg_catalog AS {literal(body)}; {each}"
        )

    def _hear(self, said: Diagnostic) -> None:
        message = said.message_primary or ""
        if not message.startswith(self._token):
            return
        _, event, rewrite, facts = (part.strip() for part in message.split("/"))
        self.begun += {"ddl_command_start": 1, "ddl_command_end": -1}.get(event, 0)
        if rewrite:
            oid, reasons = map(int, rewrite.split(","))
            self.reasons[oid] = ", ".join(text for bit, text in _REASONS.items() if reasons & bit)
        self.looks.append(Look.of(map(_row, filter(None, facts.split(";")))))


def _row(text: str) -> tuple[Any, ...]:
    oid, mode, filenode, times, tuples = text.split(",")
    return int(oid), mode, int(filenode) if filenode else None, int(times), int(tuples)
