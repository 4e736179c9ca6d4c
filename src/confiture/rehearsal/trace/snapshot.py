"""Take a snapshot of a session: the locks it holds, the scans it has counted and the files it uses.

The session takes it itself: PostgreSQL shows the statistics of an open transaction to no other session.
The queries take no lock on a user's relation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from psycopg import Connection

from confiture.models.lock_mode import STRONG_MODES
from confiture.postgres.session import send
from confiture.rehearsal.trace.catalog import FIRST_OID, RELATIONS_SQL, Catalog

# For every relation that is locked in any mode: a scan holds at least AccessShare until the transaction
# ends. No join with pg_class: it would lose dropped relations, whose scans are still counted and whose
# filenode is NULL, and takes three times as long with thousands of locks.
FACT_COLUMNS = (
    "relation::bigint",
    "mode",
    "pg_relation_filenode(relation)::bigint",
    "pg_stat_get_xact_numscans(relation)",
    "pg_stat_get_xact_tuples_returned(relation)",
)
OWN_LOCKS_SQL = f"""
    FROM pg_locks WHERE locktype = 'relation' AND granted AND pid = pg_backend_pid()
        AND relation >= {FIRST_OID}
"""
SNAPSHOT_SQL = f"""
    SELECT {", ".join(FACT_COLUMNS)} {OWN_LOCKS_SQL};
    SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, current_schemas(false)
"""


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
class Snapshot:
    """What a session held and had scanned at one moment.

    Attributes:
        held: Pairs of relation oid and strong lock mode.
        locked: The oids of all relations that are locked in any mode.
        filenodes: The file of each locked relation; ``None`` if it was dropped or has no file.
        scans: The scan counters of each locked relation that was scanned.
        search_path: The schemas that names are resolved in.
        wal_bytes: The position of the cluster's write-ahead log, in bytes; ``None`` inside a statement.
    """

    held: frozenset[HeldLock] = frozenset()
    locked: frozenset[int] = frozenset()
    filenodes: Mapping[int, int | None] = field(factory=dict)
    scans: Mapping[int, ScanCounts] = field(factory=dict)
    wal_bytes: int | None = None
    search_path: tuple[str, ...] = ()

    @classmethod
    def from_rows(
        cls, rows: Iterable[tuple[Any, ...]], wal: int | None = None, search_path: Iterable[str] = ()
    ) -> Snapshot:
        """Build a snapshot from rows of ``FACT_COLUMNS``."""
        held: set[HeldLock] = set()
        filenodes: dict[int, int | None] = {}
        scans: dict[int, ScanCounts] = {}
        for oid, mode, filenode, times, tuples in rows:
            filenodes[oid] = filenode
            if mode in STRONG_MODES:
                held.add((oid, mode))
            if times:
                scans[oid] = ScanCounts(times, tuples)
        return cls(frozenset(held), frozenset(filenodes), filenodes, scans, wal, tuple(search_path))


def parse_snapshot(results: Sequence[list[tuple[Any, ...]]]) -> Snapshot:
    """Build a snapshot from the two results of ``SNAPSHOT_SQL``."""
    rows, ((wal, search_path),) = results
    return Snapshot.from_rows(rows, wal, search_path)


def take_first_snapshot(conn: Connection[Any]) -> tuple[Snapshot, dict[int, ScanCounts], Catalog]:
    """Return the snapshot, the scan counters and the catalog from before a migration, in one message."""
    held, wal, scanned, *catalog = send(conn, f"{SNAPSHOT_SQL}; {_SCANNED_SQL}; {RELATIONS_SQL}")
    scans = {oid: ScanCounts(times, tuples) for oid, times, tuples in scanned}
    return parse_snapshot((held, wal)), scans, Catalog.from_rows(*catalog)


# A session does not send its counters to the shared statistics after every transaction. So scans of its
# earlier transactions may still be counted, also of relations that are not locked any more.
_SCANNED_SQL = f"""
    SELECT oid::bigint, pg_stat_get_xact_numscans(oid), pg_stat_get_xact_tuples_returned(oid) FROM pg_class
    WHERE oid >= {FIRST_OID} AND relkind IN ('r', 'm', 'i') AND pg_stat_get_xact_numscans(oid) > 0
"""


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
