"""Decide where an unfinished no-transaction migration goes on, from its record and the catalog.

``run``, ``plan``, a rehearsal and ``repair`` ask here, so that they start at the same statement and refuse
for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.exceptions import LedgerFault
from confiture.migrations.folder import hash_text
from confiture.migrations.prepare import PreparedMigration, select_settings, skip_statements
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import Statement
from confiture.postgres.invalid_indexes import parse_build
from confiture.postgres.session import send
from confiture.postgres.statement_effects import Effect, find_effect, find_session


@frozen
class ResumePoint:
    """The place where an unfinished migration goes on.

    Attributes:
        step: The number of the first statement to run, from 0.
        unrecorded: The number of a statement that has had its effect and is not recorded as done.
    """

    step: int = 0
    unrecorded: int | None = None


@frozen
class BegunStatement:
    """The statement that was begun and is not recorded as done.

    Attributes:
        line: The line of the statement in the file that has its number now; ``None`` if there is none.
        effect: What the catalog says about it.
        session_pid: The session that still runs it, else ``None``.
    """

    line: int | None
    effect: Effect
    session_pid: int | None = None

    @property
    def needs_answer(self) -> bool:
        """True if a person must say whether it is done."""
        return self.line is not None and self.session_pid is None and self.effect.state == "unknown"


def find_resume_point(conn: Connection[Any], work: PreparedMigration) -> ResumePoint:
    """Return where ``run`` would start a migration. Needs only read rights.

    Raises:
        LedgerFault: It is unfinished and cannot go on: its finished part has changed, its file is not
            no-transaction any more, an invalid index is left, or a statement was begun and may be committed
            in part.
    """
    entry, script = work.recorded, work.script
    if entry is None or script is None:
        return ResumePoint()
    ending = f"confiture repair {work.version}"
    if work.transactional:
        # In one transaction all of it would be sent, what is committed included.
        raise LedgerFault(
            f"migration {work.label} is unfinished, and its file is not no-transaction any more",
            hint="put the line -- confiture: no-transaction back above its first statement, or undo what is "
            f"done and start over: confiture repair --forget {work.version}",
        )
    done = len(entry.done)
    if entry.done != tuple(hash_text(statement.sql) for statement in script.statements[:done]):
        raise LedgerFault(
            f"migration {work.label} is unfinished, and its finished statements have changed since",
            hint=ending,
        )
    with apply_settings(conn, script.statements[:done]):
        left = find_leftover_indexes(conn, script.statements, entry)
        begun = examine_begun(conn, script.statements, entry)
    if left:
        raise LedgerFault(
            f"migration {work.label} is unfinished and has left "
            f"{'invalid indexes' if len(left) > 1 else 'an invalid index'}: {', '.join(left)}",
            hint=ending,
        )
    if begun is None or (begun.effect.may_be_sent_again and begun.session_pid is None):
        return ResumePoint(done)
    if begun.effect.state == "done" and begun.session_pid is None:
        return ResumePoint(done + 1, done)
    raise _build_fault(work, begun)


def _build_fault(work: PreparedMigration, begun: BegunStatement) -> LedgerFault:
    hint = f"confiture repair {work.version}"
    if begun.needs_answer:
        hint = explain_answers(work.version, begun)
    return LedgerFault(f"migration {work.label} is unfinished: {describe_begun(begun)}", hint=hint)


def describe_begun(begun: BegunStatement) -> str:
    """Return what is known of a statement that was begun, as a sentence without a full stop."""
    where = "a statement that is no longer in the file" if begun.line is None else f"line {begun.line}"
    if begun.session_pid is not None:
        return f"pid {begun.session_pid} still runs {where}: wait until it has ended"
    return f"{where} was begun and {begun.effect.describe()}"


def list_answers(version: str, begun: BegunStatement) -> tuple[str, ...]:
    """Return the two commands of which one says what became of a statement."""
    return tuple(f"confiture repair --{answer} {version}:{begun.line}" for answer in ("done", "again"))


def explain_answers(version: str, begun: BegunStatement) -> str:
    """Return what to do about a statement whose effect only a person can find out."""
    done, again = list_answers(version, begun)
    return f"look at what it has done; if nothing of it is missing: {done}; to run it once more: {again}"


def skip_finished(conn: Connection[Any], works: Iterable[PreparedMigration]) -> tuple[PreparedMigration, ...]:
    """Return the migrations without the statements that ``run`` would not send again.

    Raises:
        LedgerFault: As ``find_resume_point``.
    """
    return tuple(skip_statements(work, find_resume_point(conn, work).step) for work in works)


@contextmanager
def apply_settings(conn: Connection[Any], done: Sequence[Statement]) -> Iterator[None]:
    """Set for the block what finished statements have set for their session, such as the search_path."""
    settings = select_settings(done)
    if not settings:
        yield
        return
    with conn.transaction(force_rollback=True):
        for statement in settings:
            send(conn, statement.sql)
        yield


def find_leftover_indexes(
    conn: Connection[Any], statements: Sequence[Statement], entry: LedgerEntry
) -> tuple[str, ...]:
    """Return the qualified names of the invalid indexes that these statements left."""
    found: set[str] = set()
    for step, statement in enumerate(statements):
        build = None if statement.in_transaction else parse_build(statement.sql)
        # If the statement does not name the index, only one that was begun can have left it: before it,
        # an invalid index of that table is somebody else's.
        if build and (build.index is not None or _was_begun(statement, step, entry)):
            found.update(build.find_invalid(conn))
    return tuple(sorted(found))


def _was_begun(statement: Statement, step: int, entry: LedgerEntry) -> bool:
    if entry.begun is None:
        return False
    return step == len(entry.done) or hash_text(statement.sql) == entry.begun


def examine_begun(
    conn: Connection[Any], statements: Sequence[Statement], entry: LedgerEntry
) -> BegunStatement | None:
    """Return the statement that the ledger records as begun only, with its effect; ``None`` without one."""
    if entry.begun is None:
        return None
    step = len(entry.done)
    if step >= len(statements):
        return BegunStatement(None, Effect("unknown", "the file ends before it"))
    statement = statements[step]
    if entry.begun == hash_text(statement.sql):
        effect = find_effect(conn, statement.sql)
        # VACUUM and its like are simply repeated; they wait for the lock of the session that was left.
        pid = None if effect.harmless else find_session(conn, statement.sql)
        return BegunStatement(statement.line, effect, pid)
    return BegunStatement(statement.line, _examine_changed(conn, statements, statement, entry.begun))


def _examine_changed(
    conn: Connection[Any], statements: Sequence[Statement], statement: Statement, begun: str
) -> Effect:
    """Return the effect of a statement that stands where another text was begun."""
    for other in statements:
        if hash_text(other.sql) == begun:
            return Effect("unknown", f"the statement that was begun here stands at line {other.line} now")
    effect = find_effect(conn, statement.sql)
    if effect.may_be_sent_again or effect.state == "blocked":
        return effect
    return Effect("unknown", "its text has changed since")
