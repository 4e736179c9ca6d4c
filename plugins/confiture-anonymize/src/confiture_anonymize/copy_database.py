"""Copy a database table by table, masked on the way; no original value is written to a disk here."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection

from confiture_anonymize.copy_plan import TablePlan
from confiture_anonymize.copy_record import RecordTable
from confiture_anonymize.errors import CopyFault, TargetFault
from confiture_anonymize.keyed_hash import Key
from confiture_anonymize.source_schema import quote

# Texts of values must not depend on a session's settings, or the two sides would write them differently.
_SESSION = """
    SET row_security = off; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET timezone = 'UTC';
    SET extra_float_digits = 1; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
    SET lc_monetary = 'C'; SET bytea_output = 'hex'; SET xmloption = 'content'"""
# The server's words about these may be shown: none of them quotes a value.
_SAFE_CLASSES = ("08", "25", "42", "53", "54", "55", "57", "58")
_ON_WITH = "continue with --resume, or empty the target with --drop"


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
    """

    profile: str
    plans: tuple[TablePlan, ...]
    key: Key
    ledger_schema: str
    resume: bool = False

    @property
    def digest(self) -> str:
        """What tells this copy from one with other rules or another secret."""
        text = "\n".join(
            f"{plan.table.label} {plan.skipped} {[column.signature for column in plan.columns]}"
            for plan in self.plans
        )
        return hmac.new(self.key.secret, text.encode(), hashlib.sha256).hexdigest()


def prepare_session(conn: Connection[Any], key: Key, plans: Sequence[TablePlan]) -> None:
    """Give a session the settings, the key and the pools that masks are evaluated with."""
    conn.execute(_SESSION)
    key.install(conn)
    settings: dict[str, str] = {}
    for plan in plans:
        for column in plan.masked:
            settings |= column.mask.settings if column.mask else {}
    for name, value in settings.items():
        conn.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))


@contextmanager
def hold_snapshot(conn: Connection[Any]) -> Iterator[None]:
    """Read one moment of the database in the block, and write nothing."""
    conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("ROLLBACK")


def copy_database(
    source: Connection[Any],
    target: Connection[Any],
    request: CopyRequest,
    report: Callable[[TableCopied], None],
) -> tuple[TableCopied, ...]:
    """Copy every table that is not skipped, and mark the copy as whole.

    Raises:
        TargetFault: The target holds rows, or a copy of another profile.
        CopyFault: The server refused something, or a connection was lost: the copy is marked unfinished.
    """
    record = RecordTable(target, request.ledger_schema)
    done = _begin(target, record, request)
    copied: list[TableCopied] = []
    try:
        prepare_session(source, request.key, request.plans)
        target.execute(_SESSION)
        with hold_snapshot(source):
            for plan in request.plans:
                if plan.skipped:
                    continue
                copied.append(_copy_unless_done(source, target, plan, record, done))
                report(copied[-1])
            _copy_sequences(source, target, request.ledger_schema)
        _check_foreign_keys(target, request.plans)
        _refresh_views(target)
        record.finish()
    except psycopg.Error as error:
        where = f" after {copied[-1].name}" if copied else ""
        raise CopyFault(f"the copy stopped{where}: {describe_safely(error)}", hint=_ON_WITH) from None
    return tuple(copied)


def _begin(target: Connection[Any], record: RecordTable, request: CopyRequest) -> Mapping[str, int]:
    """Return the rows of the tables that are whole already."""
    found = record.read()
    if found is not None and request.resume:
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
    if found is not None:
        what = "a copy" if found.finished else "an unfinished copy"
        hint = "empty it with --drop" if found.finished else _ON_WITH
        raise TargetFault(f"the target holds {what} of profile {found.profile!r}", hint=hint)
    for plan in request.plans:
        if target.execute(f"SELECT EXISTS (SELECT FROM {plan.table.sql})".encode()).fetchone() == (True,):
            hint = "make a new database with the schema alone: pg_dump --schema-only"
            raise TargetFault(f"the target is not empty: {plan.table.label} has rows", hint=hint)
    record.begin(request.profile, request.digest)
    return {}


def _copy_unless_done(
    source: Connection[Any],
    target: Connection[Any],
    plan: TablePlan,
    record: RecordTable,
    done: Mapping[str, int],
) -> TableCopied:
    name = plan.table.label
    if name in done:
        return TableCopied(name, done[name], resumed=True)
    with target.transaction():
        # Without triggers: those of the source have run. Foreign keys are checked when all tables are there.
        target.execute("SET LOCAL session_replication_role = replica")
        rows = copy_table(source, target, plan)
        record.add_table(name, rows)
    return TableCopied(name, rows)


def copy_table(source: Connection[Any], target: Connection[Any], plan: TablePlan) -> int:
    """Stream the rows of one table, masked, and return how many there were."""
    names = ", ".join(quote(column.column.name) for column in plan.columns)
    expressions = ", ".join(column.sql for column in plan.columns)
    read = f"COPY (SELECT {expressions} FROM {plan.table.rows_sql}) TO STDOUT"
    write = f"COPY {plan.table.sql} ({names}) FROM STDIN"
    functions = [column.mask.function if column.mask else None for column in plan.columns]
    if not any(functions):
        return stream_copy(source, target, read, write)
    with source.cursor() as reading, target.cursor() as writing:
        with reading.copy(read.encode()) as rows, writing.copy(write.encode()) as copy:
            for row in rows.rows():
                masked = [
                    function(value) if function is not None and value is not None else value
                    for function, value in zip(functions, row, strict=True)
                ]
                copy.write_row(masked)
        return writing.rowcount


def stream_copy(source: Connection[Any], target: Connection[Any], read: str, write: str) -> int:
    """Send the output of one COPY to another as it is, and return the number of rows."""
    with source.cursor() as reading, target.cursor() as writing:
        with reading.copy(read.encode()) as rows, writing.copy(write.encode()) as copy:
            for data in rows:
                copy.write(data)
        return writing.rowcount


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


def find_orphans(target: Connection[Any], plans: Sequence[TablePlan]) -> Iterator[tuple[str, str, int]]:
    """Yield each foreign key with rows that refer to nothing: table, constraint and rows."""
    tables = {plan.table.identity: plan.table for plan in plans}
    for plan in plans:
        for key in plan.table.foreign_keys:
            if key.target not in tables:
                continue
            joined = " AND ".join(
                f"t.{quote(theirs)} = s.{quote(ours)}"
                for ours, theirs in zip(key.columns, key.target_columns, strict=True)
            )
            given = " AND ".join(f"s.{quote(name)} IS NOT NULL" for name in key.columns)
            query = (
                f"SELECT count(*) FROM {plan.table.rows_sql} AS s WHERE {given} AND NOT EXISTS"
                f" (SELECT FROM {tables[key.target].sql} AS t WHERE {joined})"
            )
            ((orphans,),) = target.execute(query.encode()).fetchall()
            if orphans:
                yield plan.table.label, key.name, orphans


def _check_foreign_keys(target: Connection[Any], plans: Sequence[TablePlan]) -> None:
    for table, key, rows in find_orphans(target, plans):
        raise CopyFault(
            f"{rows} rows of {table} refer to nothing ({key})",
            hint="a resumed copy saw two moments of the source: empty the target with --drop, copy again",
        )


def _refresh_views(target: Connection[Any]) -> None:
    """Fill the materialized views, in the order in which they were made."""
    query = (
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'm' ORDER BY c.oid"
    )
    for (name,) in target.execute(query).fetchall():
        target.execute(f"REFRESH MATERIALIZED VIEW {name}".encode())


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


def describe_safely(error: psycopg.Error) -> str:
    """Return what failed, without a row's values, which a server's message may quote."""
    state = error.sqlstate or ""
    if not state or state.startswith(_SAFE_CLASSES):
        first = str(error).strip().splitlines()
        return first[0] if first else "the connection was lost"
    parts = (error.diag.table_name, error.diag.column_name, error.diag.constraint_name)
    where = ".".join(part for part in parts if part)
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", type(error).__name__).lower()
    return f"{words} ({state}){f': {where}' if where else ''}"
