"""The ledger of applied migrations: tables in a separate schema of the target database.

``ledger`` has one row per migration, written in the transaction that applies it. For an unfinished
no-transaction migration, ``progress`` has one row per statement, and ``hook_progress`` the last value that
each generator hook yielded; both are deleted when the ledger row is written. ``event`` and ``schema_object``
are written by :mod:`confiture.ledger.event_table`.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, Protocol

import psycopg
from attrs import frozen
from psycopg import Connection
from psycopg.pq import TransactionStatus

from confiture.exceptions import OutdatedLedger, RightsFault
from confiture.ledger.table_columns import (
    count_columns,
    find_missing_columns,
    list_columns,
    render_complete_sql,
    render_create_sql,
)
from confiture.migrations.folder import hash_text
from confiture.models.ledger import LedgerEntry, LedgerRow
from confiture.models.migration import Direction
from confiture.postgres.session import fetch_rows, quote_literal, send
from confiture.sql.quote import quote_ident
from confiture.sql.timestamp import render_utc

# The tables in the order of their creation, and the rights that a run needs on them.
_RIGHTS = {
    "ledger": "INSERT, DELETE",
    "progress": "INSERT, UPDATE, DELETE",
    "hook_progress": "INSERT, UPDATE, DELETE",
    "event": "SELECT, INSERT, UPDATE",
    "schema_object": "SELECT, INSERT",
}
TABLES = tuple(_RIGHTS)
"""The names of the ledger's tables."""


class Versioned(Protocol):
    """A migration in one direction."""

    @property
    def version(self) -> str:
        """As written."""

    @property
    def direction(self) -> Direction:
        """Forward or backward."""


class LedgerMirror(Protocol):
    """Another ledger, which is to record the same migrations."""

    def render_applied(self, version: str) -> str:
        """Return SQL that records a migration as applied."""

    def render_reverted(self, version: str) -> str:
        """Return SQL that removes a migration."""


@frozen
class Ledger:
    """The ledger in one schema; the ``render`` methods return SQL that callers send with other statements.

    Attributes:
        schema: The schema.
        mirror: Records in the same transaction what this ledger records of a run; ``None`` for nothing.
    """

    schema: str
    mirror: LedgerMirror | None = None

    def read(self, conn: Connection[Any]) -> tuple[LedgerEntry, ...]:
        """Return all entries; none if there is no ledger yet. Needs only read rights and takes no lock.

        Raises:
            RightsFault: The role may not read it.
        """
        # Without progress, an older version's ledger is read alone: nothing of it is taken for pending.
        found = self.select(conn, self.render_read_sql())
        if not found and conn.info.transaction_status == TransactionStatus.IDLE:
            found = self.select(conn, self._render_applied_sql())
        return tuple(
            LedgerEntry(version, name, checksum, applied_at, tuple(done or ()), direction, begun)
            for version, name, checksum, applied_at, done, direction, begun in found
        )

    def read_settled(self, conn: Connection[Any]) -> tuple[LedgerEntry, ...]:
        """Return all entries once no session writes them any more, in a transaction that is left open.

        Raises:
            psycopg.Error: A session still writes them after five seconds, or may not be waited for.
        """
        q = quote_ident(self.schema)
        # SHARE waits for every writer: a session whose COMMIT was not answered may still be at it.
        send(
            conn,
            f"BEGIN; SET LOCAL lock_timeout = '5s'; LOCK TABLE {q}.ledger, {q}.progress IN SHARE MODE",
        )
        return self.read(conn)

    def select(self, conn: Connection[Any], query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the ledger's tables; none if there is no ledger yet.

        Raises:
            OutdatedLedger: It lacks columns.
            RightsFault: The role may not read it.
        """
        try:
            return fetch_rows(conn, query)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return []
        except psycopg.errors.UndefinedColumn as error:
            # After the error, an open transaction takes no query.
            idle = conn.info.transaction_status == TransactionStatus.IDLE
            missing = find_missing_columns(conn, self.schema) if idle else {}
            if not missing:
                raise
            raise _build_outdated_fault(self.schema, missing) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise self._build_rights_fault(
                conn, "read the ledger", self._render_table_grants("SELECT")
            ) from error

    def render_read_sql(self) -> str:
        """Return the query for the columns of a :class:`LedgerEntry`, one row a migration."""
        q = quote_ident(self.schema)
        return f"""
            {self._render_applied_sql()}
            UNION ALL
            SELECT version, min(name), min(checksum), NULL,
                array_agg(statement_sha256 ORDER BY step) FILTER (WHERE done_at IS NOT NULL), direction,
                min(statement_sha256) FILTER (WHERE done_at IS NULL)
            FROM {q}.progress GROUP BY version, direction
        """

    def _render_applied_sql(self) -> str:
        return f"""
            SELECT version, name, checksum,
                {render_utc("applied_at")},
                NULL::text[], 'forward', NULL
            FROM {quote_ident(self.schema)}.ledger
        """

    def create(self, conn: Connection[Any]) -> str:
        """Create the schema and its missing tables; return the SQL that did it, empty if nothing was missing.

        Raises:
            OutdatedLedger: They lack a column that cannot be added.
            RightsFault: The role may not create or write them, or the database is read-only.
        """
        # Check first: CREATE … IF NOT EXISTS needs the CREATE privilege even if everything exists.
        sql = ""
        try:
            with conn.transaction():
                ((writable, has_schema),) = fetch_rows(conn, self._render_writable_sql())
                if writable is None:
                    # CREATE SCHEMA IF NOT EXISTS needs the right to create one, even if it exists.
                    schema = "" if has_schema else f"CREATE SCHEMA IF NOT EXISTS {quote_ident(self.schema)};"
                    sql = schema + render_create_sql(self.schema)
                    send(conn, sql)
                    missing = find_missing_columns(conn, self.schema)
                    if not all(missing.values()):
                        raise _build_outdated_fault(self.schema, missing)
                    added = " ".join(missing.values())
                    send(conn, added)
                    sql = f"{sql} {added}"
        except psycopg.errors.InsufficientPrivilege as error:
            raise self._build_create_fault(conn) from error
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise build_read_only_fault(error) from error
        except psycopg.errors.RaiseException as error:
            raise RightsFault(
                f"role {read_role(conn)!r} could not create schema {self.schema!r} in database "
                f"{conn.info.dbname!r}: {error.diag.message_primary}",
                hint="an event trigger refused it: connect as a role that it allows, or set schema to one "
                "that it allows",
            ) from error
        if writable is False:
            raise self.build_write_fault(conn)
        return sql

    def build_write_fault(self, conn: Connection[Any]) -> RightsFault:
        """Return the fault of a role that may not write the ledger, with the GRANTs that it needs."""
        grants = self._render_table_grants("SELECT, INSERT, UPDATE, DELETE")
        return self._build_rights_fault(conn, "write the ledger", grants)

    def _render_table_grants(self, rights: str) -> tuple[str, ...]:
        schema = quote_ident(self.schema)
        return f"GRANT USAGE ON SCHEMA {schema}", f"GRANT {rights} ON ALL TABLES IN SCHEMA {schema}"

    def _build_create_fault(self, conn: Connection[Any]) -> RightsFault:
        schema = quote_ident(self.schema)
        ((has_schema,),) = fetch_rows(conn, f"SELECT to_regnamespace({quote_literal(schema)}) IS NOT NULL")
        if not has_schema:
            database = quote_ident(conn.info.dbname)
            return self._build_rights_fault(
                conn, f"create schema {self.schema!r}", (f"GRANT CREATE ON DATABASE {database}",)
            )
        if find_missing_columns(conn, self.schema):
            return RightsFault(
                f"role {read_role(conn)!r} may not add the missing columns of the ledger in schema"
                f" {self.schema!r} in database {conn.info.dbname!r}",
                hint="connect as the owner of its tables, once",
            )
        # The tables there are an older version's, or there are none yet.
        return self._build_rights_fault(
            conn,
            f"create the missing tables of the ledger in schema {self.schema!r}",
            (f"GRANT CREATE ON SCHEMA {schema}",),
        )

    def drop(self, conn: Connection[Any]) -> None:
        """Drop the tables, and the schema if nothing else is in it: ``create`` made them for a rehearsal."""
        q = quote_ident(self.schema)
        with contextlib.suppress(psycopg.DatabaseError):
            tables = ", ".join(f"{q}.{table}" for table in _RIGHTS)
            send(conn, f"DROP TABLE IF EXISTS {tables}")
            send(conn, f"DROP SCHEMA IF EXISTS {q}")

    def _render_writable_sql(self) -> str:
        """Return a query for whether the role may write the tables, and whether there is the schema.

        The first is NULL if tables or columns are missing.
        """
        rights = [
            f"has_table_privilege(to_regclass({self._quote_table(table)}), {quote_literal(right)})"
            for table, need in _RIGHTS.items()
            for right in need.split(", ")
        ]
        # An older ledger lacks some, and is upgraded.
        complete = render_complete_sql(self.schema)
        schema = quote_literal(quote_ident(self.schema))
        return (
            f"SELECT CASE WHEN {complete} THEN {' AND '.join(rights)} END,"
            f" to_regnamespace({schema}) IS NOT NULL"
        )

    def render_unchanged_sql(self) -> str:
        """Return a condition that is true if nothing but rights can refuse a row of a migration.

        Somebody may have added triggers, policies, rules, columns or constraints. What the other tool's
        ledger refuses is not known.
        """
        if self.mirror:
            return "false"
        table = f"to_regclass({self._quote_table('ledger')})"
        # Its one index is that of the primary key; NOT NULL is a constraint since PostgreSQL 18.
        return (
            f"EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = {table} AND relkind = 'r'"
            " AND NOT (relhastriggers OR relhasrules OR relrowsecurity OR relispartition)"
            f" AND relnatts = {count_columns('ledger')})"
            f" AND (SELECT count(*) FROM pg_catalog.pg_index WHERE indrelid = {table}) = 1"
            " AND (SELECT count(*) FROM pg_catalog.pg_constraint"
            f" WHERE conrelid = {table} AND contype <> 'n') = 1"
        )

    def _quote_table(self, table: str) -> str:
        return quote_literal(f"{quote_ident(self.schema)}.{table}")

    def render_insert_sql(self, row: LedgerRow) -> str:
        """Return SQL that records a migration as applied and deletes its progress."""
        q = quote_ident(self.schema)
        mirrored = self.mirror.render_applied(row.version) if self.mirror else ""
        # clock_timestamp(), because now() is the same for all migrations in one transaction; session_user,
        # because the migration may have changed current_user with SET ROLE.
        values = ", ".join(
            (
                quote_literal(row.version),
                quote_literal(row.name),
                "NULL" if row.checksum is None else quote_literal(row.checksum),
                "clock_timestamp()" if row.applied_at is None else quote_literal(row.applied_at),
                "session_user",
                render_duration(row.duration_ms) if row.duration_ms else "0",
                str(row.transactional).lower(),
                quote_literal(json.dumps(row.plugins)),
                quote_literal(json.dumps(row.hooks)),
            )
        )
        keeps = row.transactional and not row.was_unfinished
        before = "" if keeps else self._render_forget_progress_sql(row.version)
        if row.repeated:
            before += f"DELETE FROM {q}.ledger WHERE version = {quote_literal(row.version)};"
        return f"{before} INSERT INTO {q}.ledger ({list_columns('ledger')}) VALUES ({values}); {mirrored}"

    def render_delete_sql(self, version: str) -> str:
        """Return SQL that deletes a migration and its progress."""
        q, v = quote_ident(self.schema), quote_literal(version)
        mirrored = self.mirror.render_reverted(version) if self.mirror else ""
        forget = self._render_forget_progress_sql(version)
        return f"{forget} DELETE FROM {q}.ledger WHERE version = {v}; {mirrored}"

    def _render_forget_progress_sql(self, version: str) -> str:
        q, v = quote_ident(self.schema), quote_literal(version)
        return "".join(
            f"DELETE FROM {q}.{table} WHERE version = {v};" for table in ("progress", "hook_progress")
        )

    def render_accept_sql(self, version: str, checksum: str) -> str:
        """Return SQL that records another checksum of an applied migration."""
        return (
            f"UPDATE {quote_ident(self.schema)}.ledger SET checksum = {quote_literal(checksum)}"
            f" WHERE version = {quote_literal(version)};"
        )

    def render_start_over_sql(self, work: Versioned) -> str:
        """Return SQL that gives the statements that have run numbers below 0, and forgets one that was begun.

        They stay recorded until the migration ends: the new attempt may fail at once.
        """
        progress = f"{quote_ident(self.schema)}.progress"
        key = f"(version, direction) = ({quote_literal(work.version)}, {quote_literal(work.direction)})"
        # So far down that no new number is one that another row still has.
        return (
            f"DELETE FROM {progress} WHERE {key} AND done_at IS NULL;"
            f" UPDATE {progress} SET step = step - (2 * last - first + 2) FROM"
            f" (SELECT min(step) AS first, max(step) AS last FROM {progress} WHERE {key}) AS known"
            f" WHERE {key} AND last >= 0;"
        )

    def render_begin_step_sql(self, entry: LedgerEntry, step: int, sql: str) -> str:
        """Return SQL that records that a statement of a no-transaction migration is about to run."""
        checksum = "NULL" if entry.checksum is None else quote_literal(entry.checksum)
        # The row exists already if the statement failed or was interrupted before.
        return (
            f"INSERT INTO {quote_ident(self.schema)}.progress ({list_columns('progress')})"
            f" VALUES ({quote_literal(entry.version)}, "
            f"{quote_literal(entry.direction)}, {step}, {quote_literal(entry.name)}, {checksum}, "
            f"{quote_literal(hash_text(sql))}, "
            "clock_timestamp(), NULL) ON CONFLICT (version, direction, step) DO UPDATE SET "
            "statement_sha256 = excluded.statement_sha256, begun_at = excluded.begun_at, done_at = NULL;"
        )

    def render_end_step_sql(self, entry: LedgerEntry, step: int) -> str:
        """Return SQL that records that a statement has run."""
        return (
            f"UPDATE {quote_ident(self.schema)}.progress SET done_at = clock_timestamp() WHERE "
            f"(version, direction, step) = ({quote_literal(entry.version)}, "
            f"{quote_literal(entry.direction)}, {step});"
        )

    def render_forget_step_sql(self, entry: LedgerEntry, step: int) -> str:
        """Return SQL that deletes the record of a statement that failed and changed nothing."""
        return (
            f"DELETE FROM {quote_ident(self.schema)}.progress WHERE done_at IS NULL AND "
            f"(version, direction, step) = ({quote_literal(entry.version)}, "
            f"{quote_literal(entry.direction)}, {step});"
        )

    def render_resume_sql(self, work: Versioned) -> str:
        """Return SQL that reads the last progress of each generator hook of an unfinished migration."""
        return (
            f"SELECT phase, plugin, hook, progress FROM {quote_ident(self.schema)}.hook_progress WHERE "
            f"(version, direction) = ({quote_literal(work.version)}, {quote_literal(work.direction)})"
        )

    def render_store_progress_sql(self, work: Versioned, hook: tuple[str, str, str], progress: str) -> str:
        """Return SQL that stores the progress that a generator hook yielded, as JSON."""
        values = ", ".join(map(quote_literal, (work.version, work.direction, *hook, progress)))
        return (
            f"INSERT INTO {quote_ident(self.schema)}.hook_progress ({list_columns('hook_progress')})"
            f" VALUES ({values}, clock_timestamp()) "
            "ON CONFLICT (version, direction, phase, plugin, hook) DO UPDATE SET "
            "progress = excluded.progress, at = excluded.at;"
        )

    def _build_rights_fault(self, conn: Connection[Any], what: str, grants: tuple[str, ...]) -> RightsFault:
        role = read_role(conn)
        sql = " ".join(f"{grant} TO {quote_ident(role)};" for grant in grants)
        return RightsFault(
            f"role {role!r} may not {what} in database {conn.info.dbname!r}",
            hint=f"{sql} or connect as a role that has these rights",
        )


def render_duration(duration_ms: float) -> str:
    """Return SQL for a duration and the time since the server got this message.

    What comes before it in the message, deferred constraints above all, belongs to the migration.
    """
    since = "extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000"
    return f"round({duration_ms:.3f} + greatest({since}, 0), 3)"


def _build_outdated_fault(schema: str, missing: dict[str, str]) -> OutdatedLedger:
    known = all(missing.values())
    return OutdatedLedger(
        f"the ledger in schema {schema!r} is not of this version of Confiture: it lacks {', '.join(missing)}",
        hint=f"add what it lacks: {' '.join(missing.values())}"
        if known
        else "a column of a key cannot be added: restore these tables from a backup",
    )


def read_role(conn: Connection[Any]) -> str:
    """Return the role whose rights count: SET role, of the role or the database, may have changed it."""
    usable = (TransactionStatus.IDLE, TransactionStatus.INTRANS)
    if conn.closed or conn.info.transaction_status not in usable:
        return conn.info.user
    ((role,),) = fetch_rows(conn, "SELECT current_user::text")
    return str(role)


def build_read_only_fault(error: psycopg.Error) -> RightsFault:
    """Return the fault for a database that accepts no writes."""
    return RightsFault(
        f"the database is read-only: {error.diag.message_primary}",
        hint="point --url at the primary if this is a replica, or turn default_transaction_read_only off",
    )
