"""The tables of events and of the schema's recorded objects, and the SQL that writes and reads them.

``event`` has one row per migration that was applied, was reverted or failed. ``schema_object`` has the
canonical DDL of each object from the event that changed it; its last row is what the runs left, and a row
without DDL says that the object was dropped.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict, evolve, frozen
from psycopg import Connection

from confiture.catalog.object_query import CANONICAL_SETTINGS, FINGERPRINT, render_object_query
from confiture.ledger.table import Ledger, render_duration
from confiture.ledger.table_columns import list_columns
from confiture.models.event import Event, EventError, EventHook, EventLock, NewEvent
from confiture.models.ledger import PluginRecord
from confiture.models.schema import SchemaObject
from confiture.postgres.session import quote_literal
from confiture.sql.quote import quote_ident
from confiture.sql.timestamp import render_utc

# Reading the schema waits only briefly for a lock, and never for ever. A plan is made once for a run, which
# takes four fifths of the time of reading a small schema.
BEGIN_READING = (
    "BEGIN; SET LOCAL lock_timeout = '200ms'; SET LOCAL statement_timeout = '60s';"
    f" SET LOCAL plan_cache_mode = force_generic_plan; {CANONICAL_SETTINGS}"
)
_EVENT_COLUMNS, _OBJECT_COLUMNS = list_columns("event"), list_columns("schema_object")
# Every history shows an error whole, and the report of the run had all of it.
_LONGEST_ERROR = 10_000
# A payload is shorter than 8,000 bytes, and a character takes up to 12 of them.
_LONGEST_NAME = 500
_HASH = f"SELECT {FINGERPRINT} FROM live"


@frozen
class EventTable:
    """The events in one schema; the ``render`` methods return SQL that callers send with other statements.

    Attributes:
        schema: The schema of the ledger.
        plugins: The plugins in use, as ``name==version``.
        git_revision: The commit that is checked out.
        server_version: The version of the server, ``"18.1"``.
        channel: The channel on which each event is announced; ``None`` for none.
        tenant: The one schema that the events are about; ``None`` for the whole database.
    """

    schema: str
    plugins: tuple[str, ...] = ()
    git_revision: str | None = None
    server_version: str = ""
    channel: str | None = None
    tenant: str | None = None

    def render_insert_sql(self, number: int, event: NewEvent, schema_before: str | None) -> str:
        """Return SQL that records an event, and announces it when its transaction commits."""
        values = ", ".join(
            (
                str(number),
                quote_literal(event.kind),
                quote_literal(event.version),
                quote_literal(event.name),
                quote_literal(event.direction),
                "clock_timestamp()",
                "session_user",
                f"{event.duration_ms:.3f}" if event.kind == "FAILED" else render_duration(event.duration_ms),
                str(event.transactional).lower(),
                *map(_quote_json, (self.plugins, event.hooks, event.locks)),
                _quote_or_null(self.git_revision),
                quote_literal(self.server_version),
                _quote_or_null(schema_before),
                # A rollback changed nothing, and the schema may not be read again if the connection is lost.
                _quote_or_null(schema_before if event.kind == "FAILED" and event.transactional else None),
                "NULL" if event.error is None else _quote_json(_shorten(event.error)),
            )
        )
        announce = self._render_notify(number, event)
        return (
            f"INSERT INTO {quote_ident(self.schema)}.event ({_EVENT_COLUMNS}) VALUES ({values}); {announce}"
        )

    def _render_notify(self, number: int, event: NewEvent) -> str:
        if self.channel is None:
            return ""
        name = event.name[:_LONGEST_NAME]
        payload = {"event": event.kind, "number": number, "version": event.version, "name": name}
        # Tenants of one database share the channel, and each counts its own events.
        tenant = {} if self.tenant is None else {"tenant": self.tenant}
        return f"NOTIFY {quote_ident(self.channel)}, {quote_literal(json.dumps({**payload, **tenant}))};"

    def render_locks_sql(self, number: int, locks: tuple[EventLock, ...], duration_ms: float) -> str:
        """Return SQL that adds the locks to an event of the same transaction, and how long it took by now."""
        return (
            f"UPDATE {quote_ident(self.schema)}.event SET locks = {_quote_json(locks)},"
            f" duration_ms = {duration_ms:.3f} WHERE number = {number};"
        )

    def render_last_sql(self) -> str:
        """Return a query for the number of the last event, 0 if there is none."""
        return f"SELECT coalesce(max(number), 0) FROM {quote_ident(self.schema)}.event"

    def render_begin_query(self, version: int) -> str:
        """Return a query that reads the schema before a run, and records it if it was not read last time.

        The first run records all of it. If the schema was not read after the last migration, because the run
        was killed or an application committed it, what differs is taken for that migration's work. An object
        that already has a record of that migration is recorded after the next one.

        Its row: the number of the last event, the process id of the server process, the fingerprint, the
        kind, name and MD5 of each object that differs from what is recorded, and the objects that were taken
        for a migration's work.
        """
        q = quote_ident(self.schema)
        return self._render_reading(
            version,
            f""",
            unread AS (
                SELECT CASE WHEN EXISTS (SELECT FROM {q}.schema_object) THEN (
                    SELECT max(number) FROM ({_render_unread(q)}) found) END AS number
            ),
            new AS (
                INSERT INTO {q}.schema_object ({_OBJECT_COLUMNS})
                SELECT c.kind, c.identity, coalesce(u.number, 0), c.ddl FROM changed c CROSS JOIN unread u
                WHERE NOT EXISTS (SELECT FROM {q}.schema_object) OR u.number IS NOT NULL AND NOT EXISTS (
                    SELECT FROM {q}.schema_object o
                    WHERE o.kind = c.kind AND o.identity = c.identity AND o.number = u.number)
            )
            SELECT (SELECT coalesce(max(number), 0) FROM {q}.event), pg_backend_pid(), ({_HASH}),
                (SELECT jsonb_agg(jsonb_build_array(kind, identity, md5(ddl))) FROM changed, unread
                    WHERE number IS NULL AND EXISTS (SELECT FROM {q}.schema_object)),
                (SELECT jsonb_agg(concat(kind, ' ', identity) ORDER BY kind, identity)
                    FROM changed, unread WHERE number IS NOT NULL)""",
        )

    def render_observe_query(self, version: int, numbers: str, outside: str) -> str:
        """Return a query that records the schema after events, and returns its fingerprint.

        Args:
            version: The server's, as libpq gives it.
            numbers: SQL for an array of the events after which the schema is as it is now, the first of
                which changed it.
            outside: SQL for what had changed before the run, outside of it; that stays unrecorded.
        """
        q = quote_ident(self.schema)
        return self._render_reading(
            version,
            f""",
            new AS (
                INSERT INTO {q}.schema_object ({_OBJECT_COLUMNS})
                SELECT kind, identity, ({numbers}::bigint[])[1], ddl FROM changed
                WHERE jsonb_build_array(kind, identity, md5(ddl)) NOT IN (
                    SELECT value FROM jsonb_array_elements({outside}::jsonb))
            )
            UPDATE {q}.event SET schema_after = ({_HASH}), schema_before = CASE
                WHEN kind = 'FAILED' AND transactional THEN coalesce(schema_before, ({_HASH}))
                ELSE schema_before END
            WHERE number = ANY ({numbers}::bigint[]) RETURNING schema_after""",
        )

    def _render_reading(self, version: int, query: str) -> str:
        q = quote_ident(self.schema)
        return f"""WITH live AS MATERIALIZED ({render_object_query(self.schema, version, self.tenant)}),
            changed AS MATERIALIZED (
                SELECT coalesce(l.kind, k.kind) AS kind, coalesce(l.identity, k.identity) AS identity, l.ddl
                FROM live l FULL JOIN ({_render_recorded(q)}) k ON k.kind = l.kind AND k.identity = l.identity
                WHERE l.ddl IS DISTINCT FROM k.ddl
            ){query}"""


def _quote_json(value: object) -> str:
    return quote_literal(json.dumps(value, default=_to_json))


def _to_json(value: Any) -> dict[str, Any]:
    # jsonb accepts neither a NUL nor a lone surrogate, and a Python error's message may contain both.
    return {
        name: item.encode(errors="replace").decode().replace("\0", "") if isinstance(item, str) else item
        for name, item in asdict(value, recurse=False).items()
    }


def _shorten(error: EventError) -> EventError:
    if len(error.message) <= _LONGEST_ERROR:
        return error
    return evolve(error, message=f"{error.message[:_LONGEST_ERROR]}… ({len(error.message):,} characters)")


def _quote_or_null(value: str | None) -> str:
    return "NULL" if value is None else quote_literal(value)


def _render_recorded(q: str) -> str:
    """Return a query for the last recorded DDL of each object, without those that were dropped."""
    return f"""SELECT kind, identity, ddl FROM (
        SELECT DISTINCT ON (kind, identity) kind, identity, ddl FROM {q}.schema_object
        ORDER BY kind, identity, number DESC) last WHERE ddl IS NOT NULL"""


def _render_unread(q: str) -> str:
    """Return a query for the last migration that changed the schema, if the schema was not read since.

    Its row: number, version and name. A no-transaction migration that was killed has no event, but progress
    that is newer than the last one.
    """
    return f"""
        (SELECT number, version, name FROM {q}.event
        WHERE schema_after IS NULL AND NOT (kind = 'FAILED' AND transactional) AND number > (
            SELECT coalesce(max(number), 0) FROM {q}.event WHERE schema_after IS NOT NULL)
        ORDER BY number DESC LIMIT 1)
        UNION ALL
        (SELECT coalesce(e.number, 0), p.version, p.name
        FROM {q}.progress p CROSS JOIN (SELECT max(number) AS number, max(at) AS at FROM {q}.event) e
        WHERE greatest(p.begun_at, p.done_at) > coalesce(e.at, '-infinity') LIMIT 1)
    """


def find_unread(conn: Connection[Any], ledger: Ledger) -> str | None:
    """Return the last migration that changed the schema, if the schema was not read since.

    What it changed is then not recorded, and cannot be told from a change outside of migrations.

    Raises:
        RightsFault: The role may not read the events.
    """
    found = ledger.select(conn, _render_unread(quote_ident(ledger.schema)))
    return next((f"{version} {name}".rstrip() for _, version, name in found), None)


def read_recorded_objects(conn: Connection[Any], ledger: Ledger) -> tuple[SchemaObject, ...]:
    """Return the objects as the last run left them; none if no run has recorded any.

    Raises:
        RightsFault: The role may not read them.
    """
    found = ledger.select(conn, _render_recorded(quote_ident(ledger.schema)))
    return tuple(sorted(SchemaObject(*row) for row in found))


def read_events(conn: Connection[Any], ledger: Ledger) -> tuple[Event, ...]:
    """Return all events, oldest first; none if no run has recorded any. Needs read rights only.

    Raises:
        RightsFault: The role may not read them.
    """
    query = f"""
        SELECT number, kind, version, name, direction,
            {render_utc("at")}, by, duration_ms,
            transactional, plugins, hooks, locks, git_revision, server_version, schema_before, schema_after,
            error
        FROM {quote_ident(ledger.schema)}.event ORDER BY number, at
    """
    return tuple(_parse_event(row) for row in ledger.select(conn, query))


def _parse_lock(relation: str, mode: str, blocks: list[str], held_ms: float | None = None) -> EventLock:
    # Events of an older version have no times.
    return EventLock(relation, mode, tuple(blocks), held_ms)


def _parse_event(row: tuple[Any, ...]) -> Event:
    *facts, plugins, hooks, locks, revision, server, before, after, error = row
    number, kind, version, name, direction, at, by, duration_ms, transactional = facts
    return Event(
        number=number,
        kind=kind,
        version=version,
        name=name,
        direction=direction,
        at=at,
        by=by,
        duration_ms=duration_ms,
        transactional=transactional,
        plugins=tuple(PluginRecord(*plugin.partition("==")[::2]) for plugin in plugins),
        hooks=tuple(EventHook(**hook) for hook in hooks),
        locks=tuple(_parse_lock(**lock) for lock in locks),
        git_revision=revision,
        server_version=server,
        schema_before=before,
        schema_after=after,
        error=EventError(**error) if error else None,
    )
