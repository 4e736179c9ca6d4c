"""See what a statement locks that has transactions of its own: an observer looks while it runs.

CREATE INDEX CONCURRENTLY, VACUUM and their like are over when they end, and so are their locks. From
another connection they are sampled as fast as it goes, and pins hold the statement up for an instant
where it holds most.
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
_MOST_PROBED = 100
_STRONGEST = LockMode.AccessExclusiveLock.name
_SCANS_UNKNOWN = "it runs in transactions of its own, and what they read is not counted in any other"


@frozen
class StatementObservation:
    """What was seen of one statement.

    Attributes:
        locks: Share or stronger, on what was there before the migration.
        rewrites: What has got a new file.
        index_builds: The same of indexes.
        long_blocks: What was rewritten or built on while it was blocked, and held rows.
        not_seen: What could not be seen, and why.
        held_up_ms: How long pins have held it up, which is no time of its own.
    """

    locks: tuple[Lock, ...] = ()
    rewrites: tuple[str, ...] = ()
    index_builds: tuple[IndexBuild, ...] = ()
    long_blocks: tuple[str, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()
    held_up_ms: float = 0.0


@define
class StatementObserver:
    """Looks at one statement while it runs, from a thread of its own.

    Attributes:
        observer_conn: The connection that looks.
        pins: Hold the statement up.
        pid: Of the server process that runs the statement.
        seen: When each lock was first and last seen, in seconds.
        held_up_s: How long the pins were waited for.
        fault: Why it could look no longer.
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
        """Look until told to stop; whatever happens, let go of the statement at the end."""
        try:
            while not self._stop.wait(_PAUSE_S):
                self._check_once()
        except (psycopg.Error, ValueError) as error:
            self.fault = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        finally:
            self.pins.release()

    def stop(self) -> None:
        """Look no longer."""
        self._stop.set()

    def _check_once(self) -> None:
        began = time.perf_counter()
        blocking = self._read_locks()
        table, row = self.pins.table, self.pins.rows
        if not blocking & {*table.pids, *row.pids}:
            return
        # Once more: the first look may have come just before it began to wait.
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
    """Watches the statements of one rehearsal that have transactions of their own.

    Attributes:
        connect: Opens a connection to the database they run in.
        relations_before: What was there before the migration, by oid.
    """

    connect: Callable[[], Connection[Any]]
    relations_before: dict[int, RelationName] = field(factory=dict)
    _observer_conn: Connection[Any] | None = None
    _pins: Pins | None = None

    def remember(self) -> dict[int, RelationName]:
        """Note what is there before a migration, and return it."""
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
        """Watch the statement that runs on ``conn`` in the block, and hand over what was seen of it."""
        observer, pins = self._connect_once()
        members = read_family(conn, sql)
        before = read_files(observer)
        filled = _find_filled(observer, members)
        watch = StatementObserver(observer, pins, _read_pid(conn))
        concurrently = is_concurrent(sql)
        # What names nothing may be at work on the catalogs, which pins would stand in its way on.
        _hold_pins(pins, members if find_names(sql) else (), concurrently=concurrently)
        thread = threading.Thread(target=watch.watch, name="confiture-sampling", daemon=True)
        thread.start()
        try:
            yield
        finally:
            watch.stop()
            thread.join()
        replaced = _find_replaced(observer, self.relations_before) if concurrently else frozenset()
        record(self._build_observation(watch, before, read_files(observer), filled, replaced, line))

    def _build_observation(
        self,
        observer: StatementObserver,
        before: RelationFiles,
        after: RelationFiles,
        filled: frozenset[str],
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
            why = f"{where}: the connection that looked at its locks failed: {observer.fault}"
            missing.append(NotSeen(None, "locks", why))
        elif observer.pins.rows.lost or not observer.pins.rows.has_rows:
            why = f"{where}: it could not be held up to its end: a lock held for a moment may be missed"
            missing.append(NotSeen(None, "locks", why))
        elif not observer.pins.rows.possible:
            why = (
                f"{where}: only a superuser can hold it up where it holds most: a lock held for less than "
                "a millisecond may be missed"
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
    return not name.startswith("pg_toast.")


def _find_filled(conn: Connection[Any], members: Iterable[NamedRelation]) -> frozenset[str]:
    """Return the tables and materialized views among them that hold a row."""
    each = [member for member in members if member.kind in ("r", "m")]
    if len(each) <= _MOST_PROBED:
        return frozenset(member.name for member in each if _holds_rows(conn, member))
    # Not one by one: by their size.
    oids = ", ".join(str(member.oid) for member in each)
    sizes = fetch_rows(
        conn, f"SELECT oid::bigint FROM unnest(ARRAY[{oids}]::oid[]) oid WHERE pg_relation_size(oid) > 0"
    )
    filled = {oid for (oid,) in sizes}
    return frozenset(member.name for member in each if member.oid in filled)


def _holds_rows(conn: Connection[Any], member: NamedRelation) -> bool:
    try:
        return bool(fetch_rows(conn, f"SELECT 1 FROM ONLY {member.name} LIMIT 1"))
    except psycopg.DatabaseError:
        # Not to be read, or not filled yet: by its size.
        return bool(fetch_rows(conn, f"SELECT pg_relation_size({member.oid}::oid) > 0")[0][0])


def _find_replaced(conn: Connection[Any], known: Mapping[int, RelationName]) -> frozenset[int]:
    """Return the indexes that REINDEX CONCURRENTLY has made anew under the same name.

    The old one is dropped, under a strong lock, when it has been out of use for a while: that lock is on
    nothing that anybody can still see.
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
    """Where one relation lies.

    Attributes:
        name: Schema-qualified, quoted only where PostgreSQL would.
        kind: PostgreSQL's letter: ``r``, ``m`` or ``i``.
        filenode: The number of its file.
        table_oid: The oid of an index's table, else 0.
    """

    name: str
    kind: str
    filenode: int | None
    table_oid: int = 0


RelationFiles = Mapping[int, RelationFile]


def read_files(conn: Connection[Any]) -> RelationFiles:
    """Return where each table, materialized view and index lies, by oid; catalogs and TOAST left out."""
    return {oid: RelationFile(*rest) for oid, *rest in fetch_rows(conn, _FILES_SQL)}


def find_rewritten(before: RelationFiles, after: RelationFiles) -> tuple[str, ...]:
    """Return the tables and materialized views that have got a new file."""
    return tuple(
        sorted(
            file.name
            for oid, file in before.items()
            if file.kind != "i" and oid in after and after[oid].filenode != file.filenode
        )
    )


def find_built(before: RelationFiles, after: RelationFiles, known: Collection[int]) -> tuple[IndexBuild, ...]:
    """Return the indexes that were built on tables among ``known``; a new oid is a new index."""
    found = (
        IndexBuild(file.name, after[file.table_oid].name, new=oid not in before)
        for oid, file in after.items()
        if file.kind == "i" and file.table_oid in known and file.table_oid in after
        if oid not in before or before[oid].filenode != file.filenode
    )
    return tuple(sorted(found, key=lambda build: (build.table, build.index)))
