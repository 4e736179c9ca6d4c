"""Collect what the server says besides its results: WARNING, NOTICE, INFO and so on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from attrs import define, field
from psycopg import Connection
from psycopg.errors import Diagnostic

from confiture.models.report import ServerMessage

TRACER_PREFIX = "confiture_trace_"
"""With this begins every message by which a rehearsal's event triggers report to confiture."""

# A loop in a migration may raise a million notices. The first ones tell what it says.
_MAX_MESSAGES = 100
# auto_explain sends this at every statement of a rehearsal with --explain.
_QUERY_PLAN = re.compile(r"duration: [\d.]+ ms  plan:\n")


@contextmanager
def hear_notices(conn: Connection[Any], hear: Callable[[Diagnostic], None]) -> Iterator[None]:
    """Call ``hear`` with each message that the server sends on a connection inside the block."""
    conn.add_notice_handler(hear)
    try:
        yield
    finally:
        conn.remove_notice_handler(hear)


@define
class ServerMessages:
    """Collects the messages of one connection.

    Attributes:
        conn: The connection.
        left_out: How many were not kept since the last ``take``.
        last: The text of the newest one since then; ``None`` if there is none. Another thread may read it.
    """

    conn: Connection[Any]
    left_out: int = 0
    last: str | None = None
    _heard: list[ServerMessage] = field(factory=list)

    def listen(self) -> AbstractContextManager[None]:
        """Receive messages inside the block."""
        return hear_notices(self.conn, self._hear)

    def take(self) -> tuple[ServerMessage, ...]:
        """Return the messages since the last call; the last one says how many were left out."""
        heard, left_out = tuple(self._heard), self.left_out
        self._heard, self.left_out, self.last = [], 0, None
        more = (ServerMessage(heard[-1].severity, f"and {left_out:,} more messages"),) if left_out else ()
        return (*heard, *more)

    def _hear(self, notice: Diagnostic) -> None:
        text = notice.message_primary or ""
        if text.startswith(TRACER_PREFIX) or _QUERY_PLAN.match(text):
            return
        self.last = text
        if len(self._heard) >= _MAX_MESSAGES:
            self.left_out += 1
            return
        # `severity` is in the server's language.
        severity = notice.severity_nonlocalized or notice.severity or "NOTICE"
        detail = f"\n{notice.message_detail}" if notice.message_detail else ""
        hint = f"\nhint: {notice.message_hint}" if notice.message_hint else ""
        self._heard.append(ServerMessage(severity, f"{text}{detail}{hint}"))
