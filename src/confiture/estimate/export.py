"""Export the statistics of production that estimates need: read only, in one snapshot, without row data.

Of each column it reads the width, the number of distinct values and the share of nulls, but never common
values and histogram bounds, which are row data. It replaces constants in the definitions of indexes,
which may be row data too.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.estimate.statistics import (
    ColumnStatistics,
    Index,
    Probe,
    RelationStatistics,
    ServerFacts,
    SettingValue,
    Statistics,
    Transactions,
    Trigger,
)
from confiture.exceptions import LockFault
from confiture.postgres.connect import open_connection, read_server_version
from confiture.postgres.session import fetch_rows, quote_literal, send

SAMPLED_S = 3.0
"""How long to sample the ages of transactions, in seconds."""
_SAMPLES = 7
PROBED_S = 0.5
"""How long to repeat the speed probe, in seconds."""
# Few enough that a run usually ends before the scheduler takes the CPU away.
_PROBED_ROWS = 2_000
_ROUND_TRIPS = 50
_COMPUTATIONS = 20

_SETTINGS = (
    "autovacuum",
    "checkpoint_completion_target",
    "checkpoint_timeout",
    "data_checksums",
    "default_toast_compression",
    "effective_cache_size",
    "effective_io_concurrency",
    "fsync",
    "full_page_writes",
    "jit",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "max_wal_size",
    "min_parallel_table_scan_size",
    "random_page_cost",
    "seq_page_cost",
    "shared_buffers",
    "synchronous_commit",
    "wal_buffers",
    "wal_compression",
    "wal_level",
    "work_mem",
)
_UNITS = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "ms": 1, "s": 1000, "min": 60_000}
# Bits of pg_trigger.tgtype.
_EVENTS = {4: "insert", 8: "delete", 16: "update", 32: "truncate"}
_PER_ROW = 1

# The database's own collation, which PostgreSQL before 16 also has as a setting. Of one that ICU sorts, the
# name in datcollate does not count. As JSON, because PostgreSQL 14 has no datlocprovider.
_SETTINGS_SQL = f"""
    SELECT name, setting, unit, vartype FROM pg_settings WHERE name IN {_SETTINGS}
    UNION ALL
    SELECT 'lc_collate', CASE WHEN to_jsonb(d) ->> 'datlocprovider' = 'i' THEN 'icu' ELSE datcollate END,
        NULL, 'string'
    FROM pg_database d WHERE datname = current_database()
    ORDER BY 1
"""
_NAME_SQL = "quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
_USER_TABLES_SQL = """
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'm')
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', {ledger}) AND n.nspname !~ '^pg_toast'
        {scope}
"""
# The other tenants of the database, and their ledgers: thousands, of which this tenant's plan names none.
_SCOPE_OF_TENANT = """
        AND (n.nspname = {tenant} OR n.nspname !~ '^confiture_'
            AND to_regnamespace(quote_ident('confiture_' || n.nspname)) IS NULL)
"""
_RELATIONS_SQL = f"""
    SELECT c.oid::bigint, {_NAME_SQL},
        CASE c.relkind WHEN 'p' THEN 'partitioned' WHEN 'm' THEN 'matview' ELSE 'table' END,
        (SELECT i.inhparent::bigint FROM pg_inherits i WHERE i.inhrelid = c.oid AND c.relispartition),
        CASE
            WHEN c.reltuples < 0 OR (c.relpages = 0 AND c.relkind <> 'p' AND pg_relation_size(c.oid) > 0)
                THEN NULL
            WHEN c.relpages > 0 AND c.relkind <> 'p'
                -- The planner's formula: rows since the last ANALYZE show only in the size of the file.
                THEN round(c.reltuples::float8 / c.relpages * (pg_relation_size(c.oid)
                    / current_setting('block_size')::int))
            ELSE c.reltuples::float8
        END,
        pg_relation_size(c.oid), coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0),
        greatest(pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid))::text,
        c.relallvisible
    {_USER_TABLES_SQL} ORDER BY 2
"""
_INDEXES_SQL = f"""
    SELECT i.indrelid::bigint, quote_ident(x.relname), pg_get_indexdef(i.indexrelid), a.amname,
        coalesce(pg_relation_size(i.indexrelid), 0), i.indisunique,
        i.indpred IS NOT NULL, i.indexprs IS NOT NULL
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am a ON a.oid = x.relam
    WHERE i.indisvalid AND i.indrelid IN (SELECT c.oid {_USER_TABLES_SQL}) ORDER BY 1, 2
"""
_COLUMNS_SQL = f"""
    SELECT a.attrelid::bigint, a.attname, format_type(a.atttypid, a.atttypmod),
        s.avg_width, s.n_distinct::float8, s.null_frac::float8
    FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid JOIN pg_namespace w ON w.oid = r.relnamespace
    LEFT JOIN pg_stats s ON s.schemaname = w.nspname AND s.tablename = r.relname AND s.attname = a.attname
        AND s.inherited = (r.relkind = 'p')
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid IN (SELECT c.oid {_USER_TABLES_SQL})
    ORDER BY a.attrelid, a.attnum
"""
_TRIGGERS_SQL = f"""
    SELECT tgrelid::bigint, tgname, tgtype::int, tgenabled <> 'D' FROM pg_trigger
    WHERE NOT tgisinternal AND tgrelid IN (SELECT c.oid {_USER_TABLES_SQL}) ORDER BY 1, 2
"""
_TRANSACTIONS_SQL = """
    SELECT extract(epoch FROM clock_timestamp() - xact_start)::float8, state IS NULL
    FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname = current_database()
        AND (xact_start IS NOT NULL OR state IS NULL)
"""
_PROBE_SQL = (
    "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "
    f"SELECT sum(length(md5(i::text))) FROM generate_series(1, {_PROBED_ROWS}) i"
)

# A quoted name (group 1), which is kept, or a string or number, which is replaced. Names come first because
# they may contain quotes and digits.
_CONSTANT = re.compile(
    r"""("(?:[^"]|"")*") | (?:\bE)?'(?:[^'\\]|''|\\.)*' | (?<![\w$])\d[\d.]*(?:e[+-]?\d+)?\b""",
    re.VERBOSE | re.DOTALL,
)


def export(settings: Settings, *, sampled_s: float = SAMPLED_S, probed_s: float = PROBED_S) -> Statistics:
    """Return the statistics of a database, from one snapshot.

    Args:
        settings: The database and confiture's schema in it, which is left out.
        sampled_s: How long to sample the ages of transactions, in seconds.
        probed_s: How long to repeat the speed probe, in seconds.

    Raises:
        LockFault: If another session holds a lock that prevents reading the size of a table.
        ConnectionFault: If the server cannot be reached.
    """
    with open_connection(settings) as conn:
        return export_from(conn, settings.schema, settings.tenant, sampled_s=sampled_s, probed_s=probed_s)


def export_from(
    conn: Connection[Any],
    schema: str,
    tenant: str | None = None,
    *,
    sampled_s: float = SAMPLED_S,
    probed_s: float = PROBED_S,
) -> Statistics:
    """Return the statistics of the database of an idle connection; raises like ``export``."""
    scope = "" if tenant is None else _SCOPE_OF_TENANT.format(tenant=quote_literal(tenant))
    # Before the snapshot: pg_stat_activity does not change within a transaction, and a snapshot that is open
    # for seconds would hold back vacuum.
    probe = _probe_speed(conn, probed_s)
    transactions = _sample_transactions(conn, sampled_s)
    with _open_snapshot(conn):
        relations = _read_relations(conn, quote_literal(schema), scope)
        server_settings = _read_settings(conn)
    return Statistics(
        taken_at=datetime.now(UTC).replace(microsecond=0),
        server=ServerFacts(read_server_version(conn), _read_block_bytes(conn)),
        settings=server_settings,
        relations=relations,
        transactions=transactions,
        probe=probe,
    )


@contextmanager
def _open_snapshot(conn: Connection[Any]) -> Iterator[None]:
    # pg_relation_size waits for ACCESS EXCLUSIVE locks, and later sessions would queue behind a waiting
    # lock: give up after five seconds.
    send(
        conn,
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '5s'; SET LOCAL jit = off",
    )
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise LockFault(
            "the size of a table cannot be read: another session holds an ACCESS EXCLUSIVE lock on it",
            hint="wait until that session ends its transaction, then try again",
        ) from error
    finally:
        if not conn.closed:
            send(conn, "ROLLBACK")


def replace_constants(definition: str) -> str:
    """Return a definition with question marks instead of constants, which may be row data."""
    return _CONSTANT.sub(lambda found: found[1] or "?", definition)


def _read_relations(conn: Connection[Any], ledger: str, scope: str) -> dict[str, RelationStatistics]:
    relations, indexes, columns, triggers = send(
        conn,
        ";".join(
            query.format(ledger=ledger, scope=scope)
            for query in (_RELATIONS_SQL, _INDEXES_SQL, _COLUMNS_SQL, _TRIGGERS_SQL)
        ),
    )
    block_bytes = _read_block_bytes(conn)
    indexes_of = _group_by_relation(indexes, _build_index)
    columns_of = _group_by_relation(columns, ColumnStatistics)
    triggers_of = _group_by_relation(triggers, _build_trigger)
    names = {oid: name for oid, name, *_ in relations}
    return {
        name: RelationStatistics(
            name,
            kind,
            names.get(parent),
            tuples,
            # pg_relation_size returns NULL for a table that was dropped after the snapshot was taken.
            (size or 0) // block_bytes,
            toast_bytes,
            analyzed_at,
            indexes_of[oid],
            columns_of[oid],
            triggers_of[oid],
            visible_pages,
        )
        for oid, name, kind, parent, tuples, size, toast_bytes, analyzed_at, visible_pages in relations
    }


def _group_by_relation(result_rows: Sequence[tuple[Any, ...]], make: Any) -> Mapping[int, tuple[Any, ...]]:
    grouped: dict[int, tuple[Any, ...]] = defaultdict(tuple)
    for oid, *values in result_rows:
        grouped[oid] += (make(*values),)
    return grouped


def _build_index(name: str, definition: str, *values: Any) -> Index:
    return Index(name, replace_constants(definition), *values)


def _build_trigger(name: str, kind: int, enabled: bool) -> Trigger:
    events = tuple(event for bit, event in _EVENTS.items() if kind & bit)
    return Trigger(name, events, bool(kind & _PER_ROW), enabled)


def _read_settings(conn: Connection[Any]) -> dict[str, SettingValue]:
    return {
        name: _convert_setting(value, unit, kind)
        for name, value, unit, kind in fetch_rows(conn, _SETTINGS_SQL)
    }


def _convert_setting(value: str, unit: str | None, kind: str) -> SettingValue:
    if kind == "bool":
        return value == "on"
    if kind not in ("integer", "real"):
        return value
    number = int(value) if kind == "integer" else float(value)
    # Negative values are special: -1 means "automatic" or "off" and has no unit.
    if not unit or number < 0:
        return number
    # Units may have a factor: shared_buffers is counted in "8kB".
    count, name = re.fullmatch(r"(\d*)(\w+)", unit).groups()  # type: ignore[union-attr]
    return number * int(count or 1) * _UNITS.get(name, 1)


def _read_block_bytes(conn: Connection[Any]) -> int:
    return int(fetch_rows(conn, "SHOW block_size")[0][0])


def _sample_transactions(conn: Connection[Any], sampled_s: float) -> Transactions:
    """Sample the ages of other sessions' transactions several times."""
    ages: list[float] = []
    hidden = 0
    for sample in range(_SAMPLES):
        if sample:
            time.sleep(sampled_s / (_SAMPLES - 1))
        sessions = fetch_rows(conn, _TRANSACTIONS_SQL)
        ages += [round(max(age, 0.0), 3) for age, _ in sessions if age is not None]
        hidden = max(hidden, sum(is_hidden for _, is_hidden in sessions))
    return Transactions(sampled_s, tuple(sorted(ages)), hidden)


def _probe_speed(conn: Connection[Any], probed_s: float) -> Probe:
    """Repeat a small computation and keep the fastest time: it was disturbed the least."""
    began = time.perf_counter()
    round_trip_s = min(_measure_query_s(conn, "SELECT 1") for _ in range(_ROUND_TRIPS))
    fastest_ms = min(_measure_computation_ms(conn) for _ in range(_COMPUTATIONS))
    while time.perf_counter() - began < probed_s:
        fastest_ms = min(fastest_ms, _measure_computation_ms(conn))
    return Probe(round(fastest_ms * 1e6 / _PROBED_ROWS, 1), round(round_trip_s * 1000, 3))


def _measure_computation_ms(conn: Connection[Any]) -> float:
    """Return the time of the computation by the server's clock, without the network, in milliseconds."""
    ((answer,),) = fetch_rows(conn, _PROBE_SQL)
    (explained,) = json.loads(answer) if isinstance(answer, str | bytes) else answer
    return float(explained["Execution Time"])


def _measure_query_s(conn: Connection[Any], query: str) -> float:
    began = time.perf_counter()
    fetch_rows(conn, query)
    return time.perf_counter() - began
