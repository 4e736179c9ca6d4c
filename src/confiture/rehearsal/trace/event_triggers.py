"""Take snapshots inside a statement, with event triggers.

A lock that an EXCEPTION block takes and releases is gone when the statement ends; only an event trigger
inside it sees the lock. The triggers and their function, in ``pg_temp``, are created in the migration's
transaction. They disappear with its rollback, and are dropped before a commit.
"""

from __future__ import annotations

import secrets
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from attrs import define, field
from psycopg import Connection
from psycopg.errors import Diagnostic

from confiture.postgres.server_messages import TRACER_PREFIX, hear_notices
from confiture.postgres.session import quote_literal, send
from confiture.rehearsal.trace.snapshot import FACTS_SQL, Snapshot

_EVENTS = ("ddl_command_start", "ddl_command_end", "table_rewrite")

# PostgreSQL's AT_REWRITE_… bits, as pg_event_trigger_table_rewrite_reason() returns them.
_REASONS = {
    1: "its persistence changes",
    2: "a new column's value is computed for every row",
    4: "a column's type changes",
    8: "its access method changes",
}


@define
class EventTriggerTracer:
    """Collects the snapshots that event triggers take inside statements.

    Attributes:
        conn: The connection that is rehearsed.
        snapshots: The snapshots since the last ``take_snapshots``, in order.
        reasons: Why a table was rewritten, by its oid.
        unfinished_commands: How many DDL commands have begun but not ended: those that failed.
        refusal: The server's message if the role may not create event triggers, else ``None``.
    """

    conn: Connection[Any]
    snapshots: list[Snapshot] = field(factory=list)
    reasons: dict[int, str] = field(factory=dict)
    unfinished_commands: int = 0
    refusal: str | None = None
    _token: str = field(factory=lambda: f"{TRACER_PREFIX}{secrets.token_hex(8)}")
    _installed: bool = False

    def listen(self) -> AbstractContextManager[None]:
        """Receive the triggers' notices inside the block."""
        return hear_notices(self.conn, self._hear)

    def mark_removed(self) -> None:
        """Note that the triggers are gone: the transaction has ended, or DISCARD TEMP has dropped them."""
        self._installed = False

    def remove(self) -> None:
        """Drop the triggers before a commit that would keep them."""
        if self._installed:
            send(self.conn, f"DROP FUNCTION pg_temp.{self._token} CASCADE")
            self._installed = False

    def install(self) -> None:
        """Create the triggers, if they are missing and the role may create them."""
        if self._installed or self.refusal:
            return
        point = f"{self._token}_set"
        try:
            send(self.conn, f"SAVEPOINT {point}; {self._render_sql()} RELEASE {point}")
            self._installed = True
        except psycopg.Error as error:
            send(self.conn, f"ROLLBACK TO {point}; RELEASE {point}")
            # Leave out the random name of the trigger.
            self.refusal = (error.diag.message_primary or str(error)).partition(' "')[0].strip()

    def take_snapshots(self) -> tuple[Snapshot, ...]:
        """Return the snapshots since the last call."""
        snapshots, self.snapshots = tuple(self.snapshots), []
        return snapshots

    def take_reasons(self) -> dict[int, str]:
        """Return why tables were rewritten since the last call."""
        reasons, self.reasons = self.reasons, {}
        return reasons

    def saw_all(self) -> bool:
        """Return True if every DDL command since the last call was seen to its end."""
        begun, self.unfinished_commands = self.unfinished_commands, 0
        return begun == 0 and not self.refusal

    def _render_sql(self) -> str:
        name = f"pg_temp.{self._token}"
        rewrite = (
            "pg_catalog.pg_event_trigger_table_rewrite_oid() || ',' || "
            "pg_catalog.pg_event_trigger_table_rewrite_reason()"
        )
        # RAISE INFO always reaches the client: client_min_messages cannot suppress it, as it can a NOTICE.
        body = f"""
            DECLARE facts text; rewrite text := '';
            BEGIN
                IF tg_event = 'table_rewrite' THEN rewrite := {rewrite}; END IF;
                facts := ({FACTS_SQL});
                RAISE INFO USING MESSAGE =
                    concat_ws(' ', {quote_literal(self._token)}, '/', tg_event, '/', rewrite, '/', facts);
            END
        """
        triggers = "".join(
            f"CREATE EVENT TRIGGER {self._token}_{event} ON {event} EXECUTE FUNCTION {name}();"
            for event in _EVENTS
        )
        return (
            f"CREATE FUNCTION {name}() RETURNS event_trigger LANGUAGE plpgsql "
            f"SET search_path = pg_catalog AS {quote_literal(body)}; {triggers}"
        )

    def _hear(self, notice: Diagnostic) -> None:
        message = notice.message_primary or ""
        if not message.startswith(self._token):
            return
        # No part contains a slash: they are the names of events, numbers, and the names of lock modes.
        _, event, rewrite, facts = (part.strip() for part in message.split("/"))
        # A command that fails fires its start but no end.
        self.unfinished_commands += {"ddl_command_start": 1, "ddl_command_end": -1}.get(event, 0)
        if rewrite:
            oid, reasons = map(int, rewrite.split(","))
            self.reasons[oid] = ", ".join(text for bit, text in _REASONS.items() if reasons & bit)
        self.snapshots.append(Snapshot.parse(facts))
