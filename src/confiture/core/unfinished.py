"""How far an unfinished migration came: its statements, its hooks, and the indexes that it left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen
from psycopg import Connection

from confiture.core.indexes import build_of
from confiture.core.ledger import Ledger, sha256
from confiture.core.session import identifier, literal, rows
from confiture.models.ledger import Entry, HookProgress, InvalidIndex, StatementProgress
from confiture.models.migration import Statement


@frozen
class Step:
    """One statement as the ledger has recorded it.

    Attributes:
        sha256: Of its text.
        begun_at: ISO 8601.
        done_at: The same; ``None`` where it is not known to have ended.
    """

    sha256: str
    begun_at: str
    done_at: str | None


@frozen
class Progress:
    """All that the ledger has recorded of an unfinished migration.

    Attributes:
        entry: The migration.
        steps: Its statements, by their number from 0.
        hooks: What its generator hooks yielded last.
    """

    entry: Entry
    steps: Mapping[int, Step] = field(factory=dict)
    hooks: tuple[HookProgress, ...] = ()


def read_progress(conn: Connection[Any], ledger: Ledger, entry: Entry) -> Progress:
    """Return what is recorded of ``entry``; read rights are enough."""
    q, which = identifier(ledger.schema), _which(entry)
    steps = ledger.select(
        conn,
        f"SELECT step, statement_sha256, {_time('begun_at')}, {_time('done_at')} FROM {q}.progress {which}",
    )
    hooks = ledger.select(
        conn, f"SELECT phase, plugin, hook, progress FROM {q}.hook_progress {which} ORDER BY at"
    )
    return Progress(
        entry,
        {step: Step(*recorded) for step, *recorded in steps},
        tuple(HookProgress(*each) for each in hooks),
    )


def _which(entry: Entry) -> str:
    return f"WHERE (version, direction) = ({literal(entry.version)}, {literal(entry.direction)})"


def _time(column: str) -> str:
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""


def statement_progress(
    statements: Sequence[Statement], steps: Mapping[int, Step]
) -> tuple[StatementProgress, ...]:
    """Return the state of each statement of the file, and of those that it no longer has."""
    known = [_state(statement, steps.get(number)) for number, statement in enumerate(statements)]
    gone = [
        StatementProgress(None, "", "changed", step.done_at)
        for number, step in sorted(steps.items())
        if number >= len(statements) and step.done_at
    ]
    return (*known, *gone)


def _state(statement: Statement, step: Step | None) -> StatementProgress:
    if step is None:
        return StatementProgress(statement.line, statement.sql, "pending")
    if step.done_at is None:
        return StatementProgress(statement.line, statement.sql, "begun", step.begun_at)
    same = step.sha256 == sha256(statement.sql)
    return StatementProgress(statement.line, statement.sql, "done" if same else "changed", step.done_at)


def invalid_indexes(conn: Connection[Any], statements: Sequence[Statement]) -> tuple[InvalidIndex, ...]:
    """Return the invalid indexes that these statements have left, and who is still building one."""
    builds = [build_of(each.sql) for each in statements if not each.in_transaction]
    names = sorted({name for build in builds if build for name in build.invalid(conn)})
    return tuple(InvalidIndex(name, _builder(conn, name)) for name in names)


def _builder(conn: Connection[Any], index: str) -> int | None:
    """Return the session that builds it: a client that was killed leaves its server process at work."""
    found = rows(
        conn,
        "SELECT pid FROM pg_stat_progress_create_index"
        f" WHERE datname = current_database() AND index_relid = to_regclass({literal(index)})",
    )
    return found[0][0] if found else None
