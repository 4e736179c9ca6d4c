"""Copy a database table by table, masked on the way: into another database, or in place."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection

from confiture.plugins.kit import format_count
from confiture_anonymize.copy_plan import TablePlan
from confiture_anonymize.copy_record import CopyRecord, RecordTable
from confiture_anonymize.copy_rows import SESSION, copy_table, hold_snapshot, prepare_session
from confiture_anonymize.errors import CopyFault, TargetFault
from confiture_anonymize.foreign_keys import find_orphans
from confiture_anonymize.in_place import refuse_large_objects, replace_rows, rewrite_files
from confiture_anonymize.keyed_hash import Key
from confiture_anonymize.server_errors import ON_WITH, describe_safely, suggest_next_step


@frozen
class TableCopied:
    """One table that is whole in the target.

    Attributes:
        name: Its qualified name.
        rows: How many rows it has.
        resumed: True if an earlier attempt had copied it.
    """

    name: str
    rows: int
    resumed: bool = False


@frozen
class CopyRequest:
    """What is copied, and how.

    Attributes:
        profile: The profile's name.
        plans: What becomes of each table.
        key: The secret.
        ledger_schema: The schema of confiture's ledger in the target.
        resume: True to go on with an unfinished copy.
        in_place: True if the source is itself the copy, whose rows are replaced.
    """

    profile: str
    plans: tuple[TablePlan, ...]
    key: Key
    ledger_schema: str
    resume: bool = False
    in_place: bool = False

    @property
    def plans_to_copy(self) -> tuple[TablePlan, ...]:
        """The tables to write: in place, those to mask or to empty; else those that are not skipped."""
        if self.in_place:
            return tuple(plan for plan in self.plans if plan.skipped or plan.masked)
        return tuple(plan for plan in self.plans if not plan.skipped)

    @property
    def digest(self) -> str:
        """What tells this copy from one with other rules or another secret."""
        lines = [
            f"{plan.table.label} {plan.skipped} {[column.signature for column in plan.columns]}"
            for plan in self.plans
        ]
        text = "\n".join((*lines, *(["in place"] if self.in_place else [])))
        return hmac.new(self.key.secret, text.encode(), hashlib.sha256).hexdigest()


def copy_database(
    source: Connection[Any],
    target: Connection[Any],
    request: CopyRequest,
    report: Callable[[TableCopied], None],
) -> tuple[TableCopied, ...]:
    """Copy every table that is not skipped, and mark the copy as whole.

    In place, both connections are to one database: the rows of each table are replaced by what the masks
    make of them.

    Raises:
        TargetFault: The target holds rows, or a copy of another profile.
        CopyFault: The server refused something, or a connection was lost: the copy is marked unfinished.
    """
    record = RecordTable(target, request.ledger_schema)
    done = _begin(target, record, request)
    copied: list[TableCopied] = []
    try:
        prepare_session(source, request.key, request.plans)
        target.execute(SESSION)
        # In place, each table is read at the moment from which it is locked.
        with nullcontext() if request.in_place else hold_snapshot(source):
            for plan in request.plans_to_copy:
                copied.append(_copy_unless_done(source, target, plan, record, done, request))
                report(copied[-1])
            _copy_sequences(source, target, request.ledger_schema)
        if request.in_place:
            rewrite_files(target, request.plans_to_copy)
        _check_foreign_keys(target, request.plans)
        _refresh_views(target)
        record.finish()
    except psycopg.Error as error:
        where = f" after {copied[-1].name}" if copied else ""
        message = f"the copy is not finished: it stopped{where}: {describe_safely(error)}"
        raise CopyFault(message, hint=suggest_next_step(error)) from None
    return tuple(copied)


def _begin(target: Connection[Any], record: RecordTable, request: CopyRequest) -> Mapping[str, int]:
    """Return the rows of the tables that are whole already."""
    found = record.read()
    if found is not None:
        return _resume(found, request)
    if request.in_place:
        refuse_large_objects(target)
    else:
        _refuse_rows(target, request.plans)
    record.begin(request.profile, request.digest)
    return {}


def _resume(found: CopyRecord, request: CopyRequest) -> Mapping[str, int]:
    if request.resume:
        if found.finished:
            raise TargetFault(
                "the copy in the target is finished", hint="check it: confiture anonymize verify"
            )
        if (found.profile, found.plan) != (request.profile, request.digest):
            raise TargetFault(
                "the unfinished copy was begun with another profile, other rules or another secret",
                hint="go on with those, or empty the target with --drop",
            )
        return found.rows
    what = "a copy" if found.finished else "an unfinished copy"
    hint = "empty it with --drop" if found.finished else ON_WITH
    if found.finished and request.in_place:
        hint = "its rows are masked, and are not masked twice: begin with a new copy of the original"
    raise TargetFault(f"the target holds {what} of profile {found.profile!r}", hint=hint)


def _refuse_rows(target: Connection[Any], plans: Sequence[TablePlan]) -> None:
    for plan in plans:
        if target.execute(f"SELECT EXISTS (SELECT FROM {plan.table.sql})".encode()).fetchone() == (True,):
            hint = "make a new database with the schema alone: pg_dump --schema-only"
            raise TargetFault(f"the target is not empty: {plan.table.label} has rows", hint=hint)


def _copy_unless_done(
    source: Connection[Any],
    target: Connection[Any],
    plan: TablePlan,
    record: RecordTable,
    done: Mapping[str, int],
    request: CopyRequest,
) -> TableCopied:
    name = plan.table.label
    if name in done:
        return TableCopied(name, done[name], resumed=True)
    with target.transaction():
        # Without triggers: those of the source have run. Foreign keys are checked when all tables are there.
        target.execute("SET LOCAL session_replication_role = replica")
        rows = (replace_rows if request.in_place else copy_table)(source, target, plan)
        # In the same transaction, and once per name: no table is ever copied or masked twice.
        record.add_table(name, rows)
    return TableCopied(name, rows)


def _copy_sequences(source: Connection[Any], target: Connection[Any], ledger_schema: str) -> None:
    query = (
        "SELECT schemaname, sequencename, last_value FROM pg_catalog.pg_sequences"
        " WHERE last_value IS NOT NULL AND schemaname <> %s"
    )
    found = source.execute(query, (ledger_schema,)).fetchall()
    with target.cursor() as cursor:
        cursor.executemany(
            "SELECT pg_catalog.setval(pg_catalog.format('%%I.%%I', %s::text, %s::text), %s::bigint)", found
        )


def _check_foreign_keys(target: Connection[Any], plans: Sequence[TablePlan]) -> None:
    for table, key, rows in find_orphans(target, plans):
        raise CopyFault(
            f"{table} has {format_count(rows, 'row')} referring to nothing ({key})",
            hint="a resumed copy saw two moments of the source: empty the target with --drop, copy again",
        )


def _refresh_views(target: Connection[Any]) -> None:
    """Fill the materialized views, in the order in which they were made."""
    query = (
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'm' ORDER BY c.oid"
    )
    for (name,) in target.execute(query).fetchall():
        # The statistics too: those from before hold values.
        target.execute(f"REFRESH MATERIALIZED VIEW {name}".encode())
        target.execute(f"ANALYZE {name}".encode())


def drop_copy(target: Connection[Any], plans: Sequence[TablePlan], ledger_schema: str) -> None:
    """Empty the tables of a target that holds a copy, whole or not.

    Raises:
        TargetFault: It holds none, so that its rows are somebody's own.
    """
    record = RecordTable(target, ledger_schema)
    if record.read() is None:
        raise TargetFault("the target holds no anonymized copy", hint="nothing was dropped; check --to")
    with target.transaction():
        tables = ", ".join(plan.table.sql for plan in plans)
        if tables:
            target.execute(f"TRUNCATE {tables}".encode())
        record.clear()
