"""One look at what a session holds, has scanned and has rewritten, without changing any of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from psycopg import Connection

from confiture.models.lock_mode import STRONG_MODES
from confiture.postgres.session import send
from confiture.rehearsal.trace.catalog import FIRST_OID, RELATIONS_SQL, Catalog

# Every relation locked in any mode: who scans a relation holds at least AccessShare on it. A relation
# just dropped still counts its scans and has no filenode any more.
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
    """How often a relation was scanned in this transaction so far, and how many rows that gave."""

    times: int = 0
    tuples: int = 0


@frozen
class Snapshot:
    """What a session held and had done at one moment.

    Attributes:
        held: Each relation with each strong mode that is held on it.
        locked: Every relation that is locked in any mode.
        filenodes: Of each locked relation; ``None`` where it was dropped, or has no file.
        scans: Of each locked relation.
        search_path: The schemas in which names are looked for.
        wal_bytes: Position of the whole cluster's write-ahead log, in bytes; ``None`` inside a statement.
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
        """Make a look of rows as ``FACT_COLUMNS`` selects them."""
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
    """Make a look of what ``LOOK`` was answered with."""
    rows, ((wal, search_path),) = results
    return Snapshot.from_rows(rows, wal, search_path)


def take_first_snapshot(conn: Connection[Any]) -> tuple[Snapshot, dict[int, ScanCounts], Catalog]:
    """Look before a migration: what is held, what has been scanned, locked or not, and what there is."""
    held, wal, scanned, *catalog = send(conn, f"{SNAPSHOT_SQL}; {_SCANNED_SQL}; {RELATIONS_SQL}")
    scans = {oid: ScanCounts(times, tuples) for oid, times, tuples in scanned}
    return parse_snapshot((held, wal)), scans, Catalog.from_rows(*catalog)


# Counted in this session and not yet given to the shared statistics, by earlier transactions too.
_SCANNED_SQL = f"""
    SELECT oid::bigint, pg_stat_get_xact_numscans(oid), pg_stat_get_xact_tuples_returned(oid) FROM pg_class
    WHERE oid >= {FIRST_OID} AND relkind IN ('r', 'm', 'i') AND pg_stat_get_xact_numscans(oid) > 0
"""


@frozen
class NewIndex:
    """An index that a migration made.

    Attributes:
        name: Schema-qualified.
        table_oid: The oid of its table.
        partitioned: Whether it has no entries of its own.
        waits_for_transactions: True if PostgreSQL ignores it until older transactions end (``indcheckxmin``).
        filenode: Of its file; an index made anew by ALTER COLUMN TYPE may have kept the old one's.
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
    """Return those of these relations that are indexes."""
    chosen = ", ".join(map(str, sorted(oids)))
    if not chosen:
        return {}
    return {oid: NewIndex(*rest) for oid, *rest in send(conn, _NEW_INDEXES_SQL.format(oids=chosen))[0]}


def measure_bytes(conn: Connection[Any], oids: Iterable[int]) -> int | None:
    """Return how large these are, indexes and TOAST included; ``None`` for none, or where one is gone."""
    each = sorted(oids)
    if not each:
        return None
    sizes = ", ".join(f"({oid}, pg_total_relation_size({oid}))" for oid in each)
    (((known, total),),) = send(
        conn, f"SELECT count(bytes), sum(bytes) FROM (VALUES {sizes}) AS v (oid, bytes)"
    )
    return int(total) if known == len(each) else None
