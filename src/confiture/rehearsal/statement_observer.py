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
from confiture.postgres.invalid_indexes import is_concurrently
from confiture.postgres.locks import Relation, existing, strongest
from confiture.postgres.session import rows, send
from confiture.rehearsal.named_relations import Member, family, names
from confiture.rehearsal.pins import Pins, pinned

_PAUSE_S = 0.0005
_MANY = 100
_STRONGEST = LockMode.AccessExclusiveLock.name
_SCANS = "it runs in transactions of its own, and what they read is not counted in any other"


@frozen
class Sampled:
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
class Watch:
    """Looks at one statement while it runs, from a thread of its own.

    Attributes:
        observer: The connection that looks.
        pins: Hold the statement up.
        pid: Of the server process that runs the statement.
        seen: When each lock was first and last seen, in seconds.
        held_up_s: How long the pins were waited for.
        fault: Why it could look no longer.
    """

    observer: Connection[Any]
    pins: Pins
    pid: int
    seen: dict[tuple[int, str], tuple[float, float]] = field(factory=dict)
    held_up_s: float = 0.0
    fault: str | None = None
    _now: frozenset[tuple[int, str]] = frozenset()
    _stop: threading.Event = field(factory=threading.Event)

    def watch(self) -> None:
        """Look until told to stop; whatever happens, let go of the statement at the end."""
        try:
            while not self._stop.wait(_PAUSE_S):
                self._step()
        except (psycopg.Error, ValueError) as error:
            self.fault = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        finally:
            self.pins.release()

    def stop(self) -> None:
        """Look no longer."""
        self._stop.set()

    def _step(self) -> None:
        began = time.perf_counter()
        blocking = self._look()
        table, row = self.pins.table, self.pins.rows
        if not blocking & {*table.pids, *row.pids}:
            return
        # Once more: the first look may have come just before it began to wait.
        self._look()
        if blocking & set(table.pids):
            table.let_on()
        if blocking & set(row.pids):
            row.let_on(self.pid, self._strongest_now)
        self.held_up_s += time.perf_counter() - began

    def _strongest_now(self) -> frozenset[int]:
        return frozenset(oid for oid, mode in self._now if mode == _STRONGEST)

    def _look(self) -> frozenset[int]:
        held, ((pids,),) = send(
            self.observer,
            f"SELECT relation::bigint, mode FROM pg_locks WHERE pid = {self.pid} AND locktype = 'relation'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database());"
            f"SELECT pg_blocking_pids({self.pid})",
        )
        now = time.perf_counter()
        self._now = frozenset((oid, mode) for oid, mode in held if mode in STRONG_MODES)
        for each in self._now:
            self.seen[each] = (self.seen.get(each, (now, now))[0], now)
        return frozenset(pids)


@define
class Sampler:
    """Watches the statements of one rehearsal that have transactions of their own.

    Attributes:
        connect: Opens a connection to the database they run in.
        known: What was there before the migration, by oid.
    """

    connect: Callable[[], Connection[Any]]
    known: dict[int, Relation] = field(factory=dict)
    _observer: Connection[Any] | None = None
    _pins: Pins | None = None

    def remember(self) -> dict[int, Relation]:
        """Note what is there before a migration, and return it."""
        self.known = existing(self._ready()[0])
        return self.known

    def close(self) -> None:
        """Close the connections."""
        for conn in (self._observer, *(self._pins.conns if self._pins else ())):
            if conn is not None:
                conn.close()

    def _ready(self) -> tuple[Connection[Any], Pins]:
        if self._observer is None or self._pins is None:
            self._observer = self.connect()
            send(self._observer, "SET statement_timeout = 0; SET lock_timeout = '1s'")
            self._pins = pinned(self.connect)
        return self._observer, self._pins

    @contextmanager
    def watching(
        self, conn: Connection[Any], sql: str, keep: Callable[[Sampled], None], line: int | None = None
    ) -> Iterator[None]:
        """Watch the statement that runs on ``conn`` in the block, and hand over what was seen of it."""
        observer, pins = self._ready()
        members = family(conn, sql)
        before = files(observer)
        filled = _filled(observer, members)
        watch = Watch(observer, pins, _pid(conn))
        concurrently = is_concurrently(sql)
        # What names nothing may be at work on the catalogs, which pins would stand in its way on.
        _pin(pins, members if names(sql) else (), concurrently=concurrently)
        thread = threading.Thread(target=watch.watch, name="confiture-sampling", daemon=True)
        thread.start()
        try:
            yield
        finally:
            watch.stop()
            thread.join()
        replaced = _replaced(observer, self.known) if concurrently else frozenset()
        keep(self._sampled(watch, before, files(observer), filled, replaced, line))

    def _sampled(
        self,
        watch: Watch,
        before: Files,
        after: Files,
        filled: frozenset[str],
        replaced: frozenset[int],
        line: int | None,
    ) -> Sampled:
        locks = self._locks(watch, replaced)
        builds = built(before, after, self.known.keys())
        existing = {relation.name for relation in self.known.values()}
        rewrites = tuple(name for name in rewritten(before, after) if name in existing)
        blocked = {lock.relation for lock in locks if lock.blocks}
        changed = {*rewrites, *(build.table for build in builds)}
        return Sampled(
            locks,
            rewrites,
            builds,
            tuple(sorted(changed & blocked & filled)),
            self._not_seen(watch, line),
            watch.held_up_s * 1000,
        )

    def _locks(self, watch: Watch, replaced: frozenset[int]) -> tuple[Lock, ...]:
        found = strongest((each for each in watch.seen if each[0] not in replaced), self.known)
        times = {
            (self.known[oid].name, mode): seen
            for (oid, mode), seen in watch.seen.items()
            if oid in self.known
        }
        return tuple(
            evolve(lock, seen="sampled", held_ms=_held_ms(times[lock.relation, lock.mode], watch))
            for lock in found
        )

    def _not_seen(self, watch: Watch, line: int | None) -> tuple[NotSeen, ...]:
        where = "a statement" if line is None else f"line {line}"
        missing = [NotSeen(None, "scans", f"{where}: {_SCANS}")]
        if watch.fault:
            why = f"{where}: the connection that looked at its locks failed: {watch.fault}"
            missing.append(NotSeen(None, "locks", why))
        elif watch.pins.rows.lost or not watch.pins.rows.held:
            why = f"{where}: it could not be held up to its end: a lock held for a moment may be missed"
            missing.append(NotSeen(None, "locks", why))
        elif not watch.pins.rows.possible:
            why = (
                f"{where}: only a superuser can hold it up where it holds most: a lock held for less than "
                "a millisecond may be missed"
            )
            missing.append(NotSeen(None, "locks", why))
        return tuple(missing)


def _held_ms(seen: tuple[float, float], watch: Watch) -> float:
    first, last = seen
    return max(0.0, (last - first - watch.held_up_s) * 1000)


def _pin(pins: Pins, members: tuple[Member, ...], *, concurrently: bool) -> None:
    tables = (member.name for member in members if member.kind in ("r", "p") and _plain(member.name))
    pins.table.hold(tables if concurrently else ())
    pins.rows.hold(members)


def _plain(name: str) -> bool:
    return not name.startswith("pg_toast.")


def _filled(conn: Connection[Any], members: Iterable[Member]) -> frozenset[str]:
    """Return the tables and materialized views among them that hold a row."""
    each = [member for member in members if member.kind in ("r", "m")]
    if len(each) <= _MANY:
        return frozenset(member.name for member in each if _holds_rows(conn, member))
    # Not one by one: by their size.
    oids = ", ".join(str(member.oid) for member in each)
    sizes = rows(
        conn, f"SELECT oid::bigint FROM unnest(ARRAY[{oids}]::oid[]) oid WHERE pg_relation_size(oid) > 0"
    )
    filled = {oid for (oid,) in sizes}
    return frozenset(member.name for member in each if member.oid in filled)


def _holds_rows(conn: Connection[Any], member: Member) -> bool:
    try:
        return bool(rows(conn, f"SELECT 1 FROM ONLY {member.name} LIMIT 1"))
    except psycopg.DatabaseError:
        # Not to be read, or not filled yet: by its size.
        return bool(rows(conn, f"SELECT pg_relation_size({member.oid}::oid) > 0")[0][0])


def _replaced(conn: Connection[Any], known: Mapping[int, Relation]) -> frozenset[int]:
    """Return the indexes that REINDEX CONCURRENTLY has made anew under the same name.

    The old one is dropped, under a strong lock, when it has been out of use for a while: that lock is on
    nothing that anybody can still see.
    """
    now = existing(conn)
    names = {relation.name for oid, relation in now.items() if oid not in known}
    return frozenset(oid for oid, relation in known.items() if oid not in now and relation.name in names)


def _pid(conn: Connection[Any]) -> int:
    return int(rows(conn, "SELECT pg_backend_pid()")[0][0])


_FILES = """
    SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text,
        pg_relation_filenode(c.oid)::bigint, coalesce(i.indrelid, 0)::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE c.relkind IN ('r', 'm', 'i') AND c.relpersistence <> 't'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""


@frozen
class File:
    """Where one relation lies.

    Attributes:
        name: Schema-qualified, quoted only where PostgreSQL would.
        kind: PostgreSQL's letter: ``r``, ``m`` or ``i``.
        node: The number of its file.
        table: The oid of an index's table, else 0.
    """

    name: str
    kind: str
    node: int | None
    table: int = 0


Files = Mapping[int, File]


def files(conn: Connection[Any]) -> Files:
    """Return where each table, materialized view and index lies, by oid; catalogs and TOAST left out."""
    return {oid: File(*rest) for oid, *rest in rows(conn, _FILES)}


def rewritten(before: Files, after: Files) -> tuple[str, ...]:
    """Return the tables and materialized views that have got a new file."""
    return tuple(
        sorted(
            file.name
            for oid, file in before.items()
            if file.kind != "i" and oid in after and after[oid].node != file.node
        )
    )


def built(before: Files, after: Files, known: Collection[int]) -> tuple[IndexBuild, ...]:
    """Return the indexes that were built on tables among ``known``; a new oid is a new index."""
    found = (
        IndexBuild(file.name, after[file.table].name, new=oid not in before)
        for oid, file in after.items()
        if file.kind == "i" and file.table in known and file.table in after
        if oid not in before or before[oid].node != file.node
    )
    return tuple(sorted(found, key=lambda build: (build.table, build.index)))
