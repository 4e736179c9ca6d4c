"""Find out what became of a COMMIT that the server did not answer, and say it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
from attrs import evolve, frozen
from psycopg import Connection

from confiture.exceptions import UserFault
from confiture.ledger.table import Ledger
from confiture.migrations.prepare import PreparedMigration
from confiture.migrations.version import parse_version
from confiture.models.report import Fault
from confiture.postgres.connect import ask_patiently

COMMITTED_WARNING = "the server did not answer COMMIT; a new connection found the migration committed"


@frozen
class CommitState:
    """What a new connection has found in the ledger.

    Attributes:
        known: False if no connection could be had, or a session may still be committing.
        committed: True if the migration is recorded as finished.
        statements: How many statements are recorded as finished, if the migration is unfinished.
    """

    known: bool
    committed: bool = False
    statements: int | None = None

    def describe_remains(self, seen: str | None) -> str | None:
        """Describe what may stay committed of a migration that failed; ``None`` if nothing does.

        ``seen`` is what the attempt itself knows of that.
        """
        if not self.known:
            return seen or "it is not known whether it was committed"
        if self.statements is None:
            return seen
        verb = "statement is" if self.statements == 1 else "statements are"
        return f"{self.statements} {verb} recorded as done"


def look_up_commit(
    reconnect: Callable[[], Connection[Any]], ledger: Ledger, work: PreparedMigration
) -> CommitState:
    """Return what the ledger says of a migration, seen from a new connection; never raises."""
    try:
        with closing(reconnect()) as conn:
            entries = ask_patiently(conn, lambda: ledger.read_settled(conn))
    # A signal here means that nobody wants to wait for the answer any longer.
    except (UserFault, psycopg.Error, KeyboardInterrupt):
        return CommitState(known=False)
    version = parse_version(work.version)
    ours = [entry for entry in entries if parse_version(entry.version) == version]
    applied = any(entry.finished for entry in ours)
    unfinished = [entry for entry in ours if not entry.finished and entry.direction == work.direction]
    return CommitState(
        known=True,
        committed=not unfinished and applied is (work.direction == "forward"),
        statements=len(unfinished[0].done) if unfinished else None,
    )


def explain_commit(fault: Fault, state: CommitState, work: PreparedMigration) -> Fault:
    """Return the fault of a migration that stopped at an unanswered COMMIT, with what became of it."""
    if not state.known:
        found = "and it is not known whether it was committed"
        hint = "when the server answers again, look: confiture status"
    elif state.statements is None:
        found, hint = "but a new connection found that it was not committed", "run it again"
    else:
        found = f"but a new connection found that {state.describe_remains(None)}"
        hint = f"confiture repair {work.version}"
    message = f"the server did not answer COMMIT, {found} ({fault.message})"
    return evolve(fault, message=message, hint=hint)
