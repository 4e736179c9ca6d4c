"""Sample the locks of a statement that manages its own transactions, while it runs.

CREATE INDEX CONCURRENTLY, VACUUM and others release their locks before they return. So another connection
reads their locks every half millisecond, and pins pause the statement where it holds its strongest locks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import define, evolve, field, frozen
from psycopg import Connection

from confiture.models.lock_mode import STRONG_MODES, LockMode
from confiture.models.report import IndexBuild, Lock, NotSeen
from confiture.postgres.invalid_indexes import is_concurrent
from confiture.postgres.locks import RelationName, list_strongest_locks, read_relations
from confiture.postgres.session import fetch_rows, send
from confiture.rehearsal.named_relations import NamedRelation, find_names, read_family
from confiture.rehearsal.pins import Pins, open_pins

_PAUSE_S = 0.0005
# Up to this number, a query per table finds out if it holds rows; more are judged by the size of their files.
_MOST_PROBED = 100
_STRONGEST = LockMode.AccessExclusiveLock.name
_SCANS_UNKNOWN = "its scans cannot be counted: its transactions end before anybody can read their counters"


@frozen
class StatementObservation:
    """What was observed of one statement.

    Attributes:
        locks: Locks of Share or stronger, on relations that existed before the migration.
        rewrites: Tables and materialized views that got a new file.
        index_builds: Indexes that were built.
        long_blocks: Relations with rows that were rewritten, or index-built, while they were blocked.
        empty_blocks: The same for relations without rows.
        not_seen: What could not be observed, and why.
        held_up_ms: How long pins have paused it, in milliseconds; not part of its duration.
    """

    locks: tuple[Lock, ...] = ()
    rewrites: tuple[str, ...] = ()
    index_builds: tuple[IndexBuild, ...] = ()
    long_blocks: tuple[str, ...] = ()
    empty_blocks: tuple[str, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()
    held_up_ms: float = 0.0


@define
class StatementObserver:
    """Samples the locks of one statement in a thread.

    Attributes:
        observer_conn: The connection that reads the locks.
        pins: Pause the statement.
        pid: The process id of the statement's server process.
        seen: When each lock was first and last seen, in seconds.
        held_up_s: How long the statement has waited for the pins, in seconds.
        fault: Why sampling failed, else ``None``.
    """

    observer_conn: Connection[Any]
    pins: Pins
    pid: int
    seen: dict[tuple[int, str], tuple[float, float]] = field(factory=dict)
    held_up_s: float = 0.0
    fault: str | None = None
    _held_now: frozenset[tuple[int, str]] = frozenset()
    _stop: threading.Event = field(factory=threading.Event)

    def watch(self) -> None:
        """Sample until ``stop``; release the pins in any case, or the statement would wait forever."""
        try:
            while not self._stop.wait(_PAUSE_S):
                self._check_once()
        except (psycopg.Error, ValueError) as error:
            self.fault = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        finally:
            self.pins.release()

    def stop(self) -> None:
        """End the sampling."""
        self._stop.set()

    def _check_once(self) -> None:
        began = time.perf_counter()
        blocking = self._read_locks()
        table, row = self.pins.table, self.pins.rows
        if not blocking & {*table.pids, *row.pids}:
            return
        # Read again: the locks may have been read just before the statement began to wait.
        self._read_locks()
        if blocking & set(table.pids):
            table.advance()
        if blocking & set(row.pids):
            row.advance(self.pid, self._select_strongest)
        self.held_up_s += time.perf_counter() - began

    def _select_strongest(self) -> frozenset[int]:
        return frozenset(oid for oid, mode in self._held_now if mode == _STRONGEST)

    def _read_locks(self) -> frozenset[int]:
        held, ((pids,),) = send(
            self.observer_conn,
            f"SELECT relation::bigint, mode FROM pg_locks WHERE pid = {self.pid} AND locktype = 'relation'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database());"
            f"SELECT pg_blocking_pids({self.pid})",
        )
        now = time.perf_counter()
        self._held_now = frozenset((oid, mode) for oid, mode in held if mode in STRONG_MODES)
        for pair in self._held_now:
            self.seen[pair] = (self.seen.get(pair, (now, now))[0], now)
        return frozenset(pids)


@define
class Sampler:
    """Samples the statements of one rehearsal that manage their own transactions.

    Attributes:
        connect: Opens a connection to the database that the rehearsal runs in.
        relations_before: The relations that existed before the migration, by oid.
    """

    connect: Callable[[], Connection[Any]]
    relations_before: dict[int, RelationName] = field(factory=dict)
    _observer_conn: Connection[Any] | None = None
    _pins: Pins | None = None

    def remember(self) -> dict[int, RelationName]:
        """Note the relations that exist before a migration, and return them."""
        self.relations_before = read_relations(self._connect_once()[0])
        return self.relations_before

    def close(self) -> None:
        """Close the connections."""
        for conn in (self._observer_conn, *(self._pins.conns if self._pins else ())):
            if conn is not None:
                conn.close()

    def _connect_once(self) -> tuple[Connection[Any], Pins]:
        if self._observer_conn is None or self._pins is None:
            self._observer_conn = self.connect()
            send(self._observer_conn, "SET statement_timeout = 0; SET lock_timeout = '1s'")
            self._pins = open_pins(self.connect)
        return self._observer_conn, self._pins

    @contextmanager
    def sample_statement(
        self,
        conn: Connection[Any],
        sql: str,
        record: Callable[[StatementObservation], None],
        line: int | None = None,
    ) -> Iterator[None]:
        """Sample the statement that runs on ``conn`` in the block, then call ``record`` with the result."""
        observer, pins = self._connect_once()
        members = read_family(conn, sql)
        before = read_files(observer)
        filled = _find_filled(observer, members)
        empty = frozenset(member.name for member in members) - filled
        watch = StatementObserver(observer, pins, _read_pid(conn))
        concurrently = is_concurrent(sql)
        # A statement that names no relation (VACUUM of everything) processes pg_class too, and would wait for
        # its pinned rows there.
        _hold_pins(pins, members if find_names(sql) else (), concurrently=concurrently)
        thread = threading.Thread(target=watch.watch, name="confiture-sampling", daemon=True)
        thread.start()
        try:
            yield
        finally:
            watch.stop()
            thread.join()
        replaced = _find_replaced(observer, self.relations_before) if concurrently else frozenset()
        record(self._build_observation(watch, before, read_files(observer), filled, empty, replaced, line))

    def _build_observation(
        self,
        observer: StatementObserver,
        before: RelationFiles,
        after: RelationFiles,
        filled: frozenset[str],
        empty: frozenset[str],
        replaced: frozenset[int],
        line: int | None,
    ) -> StatementObservation:
        locks = self._build_locks(observer, replaced)
        builds = find_built(before, after, self.relations_before.keys())
        existing = {relation.name for relation in self.relations_before.values()}
        rewrites = tuple(name for name in find_rewritten(before, after) if name in existing)
        blocked = {lock.relation for lock in locks if lock.blocks}
        changed = {*rewrites, *(build.table for build in builds)}
        return StatementObservation(
            locks,
            rewrites,
            builds,
            tuple(sorted(changed & blocked & filled)),
            tuple(sorted(changed & blocked & empty)),
            self._describe_not_seen(observer, line),
            observer.held_up_s * 1000,
        )

    def _build_locks(self, observer: StatementObserver, replaced: frozenset[int]) -> tuple[Lock, ...]:
        found = list_strongest_locks(
            (pair for pair in observer.seen if pair[0] not in replaced), self.relations_before
        )
        times = {
            (self.relations_before[oid].name, mode): seen
            for (oid, mode), seen in observer.seen.items()
            if oid in self.relations_before
        }
        return tuple(
            evolve(lock, seen="sampled", held_ms=_compute_held_ms(times[lock.relation, lock.mode], observer))
            for lock in found
        )

    def _describe_not_seen(self, observer: StatementObserver, line: int | None) -> tuple[NotSeen, ...]:
        where = "a statement" if line is None else f"line {line}"
        missing = [NotSeen(None, "scans", f"{where}: {_SCANS_UNKNOWN}")]
        if observer.fault:
            why = f"{where}: the connection that sampled its locks failed: {observer.fault}"
            missing.append(NotSeen(None, "locks", why))
        elif observer.pins.rows.lost or not observer.pins.rows.has_rows:
            why = f"{where}: it could not be paused until its end, so a very short lock may be missed"
            missing.append(NotSeen(None, "locks", why))
        elif not observer.pins.rows.possible:
            why = (
                f"{where}: only a superuser can pause it where it holds its strongest locks, so a lock held "
                "for less than a millisecond may be missed"
            )
            missing.append(NotSeen(None, "locks", why))
        return tuple(missing)


def _compute_held_ms(seen: tuple[float, float], observer: StatementObserver) -> float:
    first, last = seen
    return max(0.0, (last - first - observer.held_up_s) * 1000)


def _hold_pins(pins: Pins, members: tuple[NamedRelation, ...], *, concurrently: bool) -> None:
    tables = (member.name for member in members if member.kind in ("r", "p") and _is_ordinary(member.name))
    pins.table.hold(tables if concurrently else ())
    pins.rows.hold(members)


def _is_ordinary(name: str) -> bool:
    # LOCK TABLE refuses TOAST tables, and the error would lose the pin on the other tables.
    return not name.startswith("pg_toast.")


def _find_filled(conn: Connection[Any], members: Iterable[NamedRelation]) -> frozenset[str]:
    """Return the names of the tables and materialized views that hold a row."""
    tables = [member for member in members if member.kind in ("r", "m")]
    if len(tables) <= _MOST_PROBED:
        return frozenset(member.name for member in tables if _holds_rows(conn, member))
    oids = ", ".join(str(member.oid) for member in tables)
    sizes = fetch_rows(
        conn, f"SELECT oid::bigint FROM unnest(ARRAY[{oids}]::oid[]) oid WHERE pg_relation_size(oid) > 0"
    )
    filled = {oid for (oid,) in sizes}
    return frozenset(member.name for member in tables if member.oid in filled)


def _holds_rows(conn: Connection[Any], member: NamedRelation) -> bool:
    try:
        return bool(fetch_rows(conn, f"SELECT 1 FROM ONLY {member.name} LIMIT 1"))
    except psycopg.DatabaseError:
        # The role may not read it, or it is a materialized view that is not populated: use the file's size.
        return bool(fetch_rows(conn, f"SELECT pg_relation_size({member.oid}::oid) > 0")[0][0])


def _find_replaced(conn: Connection[Any], known: Mapping[int, RelationName]) -> frozenset[int]:
    """Return the old indexes that REINDEX CONCURRENTLY has replaced under the same name.

    It locks an old index exclusively only after no query uses it any more: that lock blocks nobody.
    """
    now = read_relations(conn)
    names = {relation.name for oid, relation in now.items() if oid not in known}
    return frozenset(oid for oid, relation in known.items() if oid not in now and relation.name in names)


def _read_pid(conn: Connection[Any]) -> int:
    return int(fetch_rows(conn, "SELECT pg_backend_pid()")[0][0])


_FILES_SQL = """
    SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text,
        pg_relation_filenode(c.oid)::bigint, coalesce(i.indrelid, 0)::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE c.relkind IN ('r', 'm', 'i') AND c.relpersistence <> 't'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""


@frozen
class RelationFile:
    """The file of one relation.

    Attributes:
        name: Schema-qualified, quoted only if PostgreSQL would quote it.
        kind: Its ``relkind``: ``r``, ``m`` or ``i``.
        filenode: The number of its file.
        table_oid: For an index, the oid of its table; else 0.
    """

    name: str
    kind: str
    filenode: int | None
    table_oid: int = 0


RelationFiles = Mapping[int, RelationFile]


def read_files(conn: Connection[Any]) -> RelationFiles:
    """Return the file of each table, materialized view and index, by oid, without catalogs and TOAST."""
    return {oid: RelationFile(*rest) for oid, *rest in fetch_rows(conn, _FILES_SQL)}


def find_rewritten(before: RelationFiles, after: RelationFiles) -> tuple[str, ...]:
    """Return the names of the tables and materialized views that got a new file."""
    return tuple(
        sorted(
            file.name
            for oid, file in before.items()
            if file.kind != "i" and oid in after and after[oid].filenode != file.filenode
        )
    )


def find_built(before: RelationFiles, after: RelationFiles, known: Collection[int]) -> tuple[IndexBuild, ...]:
    """Return the indexes that were built on tables among ``known``."""
    found = (
        IndexBuild(file.name, after[file.table_oid].name, new=oid not in before)
        for oid, file in after.items()
        if file.kind == "i" and file.table_oid in known and file.table_oid in after
        if oid not in before or before[oid].filenode != file.filenode
    )
    return tuple(sorted(found, key=lambda build: (build.table, build.index)))
