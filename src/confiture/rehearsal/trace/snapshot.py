"""Take a snapshot of a session: the locks it holds, the scans it has counted and the files it uses.

The session takes it itself: PostgreSQL shows the statistics of an open transaction to no other session.
The queries take no lock on a user's relation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, evolve, field, frozen
from psycopg import Connection

from confiture.models.lock_mode import STRONG_MODES
from confiture.postgres.session import send
from confiture.rehearsal.trace.catalog import FIRST_OID, Catalog, CatalogChanges, CatalogReader

# For every relation that is locked in any mode: a scan holds at least AccessShare until the transaction
# ends. No join with pg_class: it would lose dropped relations, whose scans are still counted and whose
# filenode is NULL, and takes three times as long with thousands of locks.
# Most relations still have their first file, whose number is their oid, and were not scanned: to leave that
# out takes a quarter less time.
_FACT = """
    CASE WHEN pg_stat_get_xact_numscans(relation) = 0 AND pg_relation_filenode(relation) = relation
        THEN relation::bigint || ',' || mode
    ELSE relation::bigint || ',' || mode || ',' || coalesce(pg_relation_filenode(relation)::bigint, 0)
        || ',' || pg_stat_get_xact_numscans(relation) || ',' || pg_stat_get_xact_tuples_returned(relation)
    END
"""
# One text, not rows: a long plan holds thousands of locks, and a statement changes few of them. The rest are
# compared as strings, and never become objects.
_OF_RELATIONS = f"locktype = 'relation' AND granted AND pid = pg_backend_pid() AND relation >= {FIRST_OID}"
FACTS_SQL = f"""
    SELECT string_agg({_FACT}, ';')
    FROM pg_locks WHERE {_OF_RELATIONS}
"""
_POSITION = "pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, current_schemas(false)"
_POSITION_SQL = f"SELECT {_POSITION}"
SNAPSHOT_SQL = f"""
    {FACTS_SQL};
    {_POSITION_SQL}
"""


_REACHED_SQL = f"""
    SELECT string_agg({_FACT}, ';') FROM (
        SELECT relation, 'AccessShareLock' AS mode FROM unnest(ARRAY[{{oids}}]::oid[]) AS named (relation)
        UNION ALL SELECT indexrelid, 'AccessShareLock' FROM pg_index WHERE indrelid IN ({{oids}})
    ) AS reached
"""
_CLOCK_SQL = "extract(epoch FROM clock_timestamp())::float8"


HeldLock = tuple[int, str]


@frozen
class ScanCounts:
    """How often a relation was scanned in this transaction so far.

    Attributes:
        times: Scans begun.
        tuples: Rows that the scans returned.
    """

    times: int = 0
    tuples: int = 0


@frozen
class Fact:
    """One lock, and what is known of its relation.

    Attributes:
        oid: The relation's oid.
        mode: The mode of the lock.
        filenode: The relation's file; 0 if it was dropped or has none.
        scans: Its scan counters.
    """

    oid: int
    mode: str
    filenode: int
    scans: ScanCounts

    @classmethod
    def parse(cls, text: str) -> Fact:
        """Build a fact from its text in a snapshot."""
        oid, mode, *rest = text.split(",")
        filenode, times, tuples = map(int, rest) if rest else (int(oid), 0, 0)
        return cls(int(oid), mode, filenode, ScanCounts(times, tuples))


@frozen
class Snapshot:
    """What a session held and had scanned at one moment.

    Attributes:
        facts: A text for each lock that it held.
        wal_bytes: The position of the cluster's write-ahead log, in bytes; ``None`` inside a statement.
        search_path: The schemas that names are resolved in.
    """

    facts: frozenset[str] = frozenset()
    wal_bytes: int | None = None
    search_path: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str | None, wal: int | None = None, search_path: Iterable[str] = ()) -> Snapshot:
        """Build a snapshot from the text that ``FACTS_SQL`` returns."""
        return cls(split_facts(text), wal, tuple(search_path))


def split_facts(text: str | None) -> frozenset[str]:
    """Return the facts in a text that the server has put together."""
    return frozenset(text.split(";")) if text else frozenset()


def render_closing_sql(lock_condition: str) -> str:
    """Return SQL that takes a snapshot, and tells if a lock with the condition ``lock_condition`` is held.

    In one query: ``pg_locks`` lists the locks of the whole cluster whenever it is read. An advisory lock, as
    that one is, has no relation.
    """
    return f"""
        SELECT string_agg({_FACT}, ';'), coalesce(bool_or(relation IS NULL), false)
        FROM pg_locks WHERE {_OF_RELATIONS} OR ({lock_condition});
        {_POSITION_SQL}
    """


def render_reached_sql(oids: Iterable[int]) -> str:
    """Return SQL that takes a snapshot of these tables and their indexes only, without reading any lock.

    It also returns the server's clock before and after, in seconds.
    """
    named = ", ".join(map(str, sorted(oids)))
    facts = f"({_REACHED_SQL.format(oids=named)})" if named else "NULL"
    return f"SELECT {_CLOCK_SQL}, {facts}, {_POSITION}, {_CLOCK_SQL}"


def parse_snapshot(results: Sequence[list[tuple[Any, ...]]]) -> Snapshot:
    """Build a snapshot from the two results of ``SNAPSHOT_SQL``."""
    ((text,),), ((wal, search_path),) = results
    return Snapshot.parse(text, wal, search_path)


@frozen
class SnapshotChange:
    """What differs between two snapshots.

    Attributes:
        new: Facts that only the later one has.
        taken: Strong locks that only the later one has.
        released: Strong locks that only the earlier one has.
    """

    new: tuple[Fact, ...]
    taken: frozenset[HeldLock]
    released: frozenset[HeldLock]


@define
class SessionState:
    """The last snapshot of a session. It outlives a migration, so that the next one reads only what changed.

    Attributes:
        snapshot: The last snapshot.
        held: The locks in it that are in Share or a stronger mode.
        scans: The scan counters of each relation, by oid, as last read.
        catalog: The relations that existed when the current migration began.
    """

    snapshot: Snapshot = field(factory=Snapshot)
    held: frozenset[HeldLock] = frozenset()
    scans: dict[int, ScanCounts] = field(factory=dict)
    _catalogs: CatalogReader = field(factory=CatalogReader)
    _scanned: frozenset[str] = frozenset()

    @property
    def catalog(self) -> Catalog:
        """The relations that existed when the current migration began."""
        return self._catalogs.catalog

    def ignore(self, oids: Iterable[int]) -> None:
        """Leave these relations out of the catalog."""
        self._catalogs.ignored = frozenset(oids)

    @property
    def is_recent(self) -> bool:
        """True if the whole catalog was read a moment ago."""
        return self._catalogs.is_recent

    def render_begin_sql(self, *, keeps_facts: bool, changes: CatalogChanges | None = None) -> str:
        """Return the queries whose answers ``begin`` takes.

        Args:
            keeps_facts: True if the last snapshot was taken when the migration before ended, in the same
                transaction: its locks are held still, and are not read again.
            changes: All that it has changed in the catalog, ``None`` if unknown.
        """
        first = _POSITION_SQL if keeps_facts else SNAPSHOT_SQL
        if changes is not None:
            return f"{first}; {self._catalogs.render_changed_sql(changes)}"
        return f"{first}; {self._catalogs.render_sql(same_transaction=keeps_facts)}"

    def begin(
        self,
        conn: Connection[Any],
        answers: Sequence[Sequence[Any]],
        *,
        keeps_facts: bool,
        changes: CatalogChanges | None = None,
    ) -> None:
        """Note the state before a migration, from the answers to these queries."""
        *facts, rows = answers
        if keeps_facts:
            # The session was reset, and its ledger row written, after that snapshot.
            (((wal, search_path),),) = facts
            self.snapshot = evolve(self.snapshot, wal_bytes=wal, search_path=tuple(search_path))
        else:
            self.take(parse_snapshot([list(rows) for rows in facts]))
        if changes is not None:
            counted = self._catalogs.add(conn, rows, changes)
            self.scans |= {oid: ScanCounts(times, tuples) for oid, times, tuples in counted}
            return
        (versions,) = rows
        now = split_facts(self._catalogs.read(conn, versions))
        for text in now - self._scanned:
            oid, times, tuples = map(int, text.split(","))
            self.scans[oid] = ScanCounts(times, tuples)
        self._scanned = now

    def take(self, snapshot: Snapshot) -> SnapshotChange:
        """Make this the last snapshot, and return how it differs from the one before."""
        new = tuple(map(Fact.parse, snapshot.facts - self.snapshot.facts))
        gone = map(Fact.parse, self.snapshot.facts - snapshot.facts)
        after, before = _select_strong(new), _select_strong(gone)
        if before != after:
            self.held = (self.held - before) | after
        self.snapshot = snapshot
        return SnapshotChange(new, after - before, before - after)


def _select_strong(facts: Iterable[Fact]) -> frozenset[HeldLock]:
    return frozenset((fact.oid, fact.mode) for fact in facts if fact.mode in STRONG_MODES)


@frozen
class NewIndex:
    """An index that a migration has created.

    Attributes:
        name: Schema-qualified and quoted.
        table_oid: The oid of its table.
        partitioned: True for the index of a partitioned table, which has no entries.
        waits_for_transactions: True if PostgreSQL ignores it until older transactions end (``indcheckxmin``).
        filenode: The number of its file. ALTER COLUMN TYPE may recreate an index and keep its file.
    """

    name: str
    table_oid: int
    partitioned: bool
    waits_for_transactions: bool
    filenode: int


_NEW_INDEXES_SQL = """
    SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname), i.indrelid::bigint,
        c.relkind = 'I', i.indcheckxmin, c.relfilenode::bigint
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid IN ({oids})
"""


def read_new_indexes(conn: Connection[Any], oids: Iterable[int]) -> dict[int, NewIndex]:
    """Return the indexes among these relations, by oid."""
    chosen = ", ".join(map(str, sorted(oids)))
    if not chosen:
        return {}
    return {oid: NewIndex(*rest) for oid, *rest in send(conn, _NEW_INDEXES_SQL.format(oids=chosen))[0]}


def measure_bytes(conn: Connection[Any], oids: Iterable[int]) -> int | None:
    """Return the size of these relations with indexes and TOAST; ``None`` if none is given or one is gone."""
    measured = sorted(oids)
    if not measured:
        return None
    sizes = ", ".join(f"({oid}, pg_total_relation_size({oid}))" for oid in measured)
    (((known, total),),) = send(
        conn, f"SELECT count(bytes), sum(bytes) FROM (VALUES {sizes}) AS v (oid, bytes)"
    )
    return int(total) if known == len(measured) else None
