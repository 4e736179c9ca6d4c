"""One number for all that a database holds: its catalogs, the shared ones, and every row."""

from __future__ import annotations

import hashlib
import time

import psycopg

_VOLATILE = (
    "'{relfrozenxid,relminmxid,relpages,reltuples,relallvisible,relallfrozen,datfrozenxid,datminmxid}'"
)
# Statistics come by themselves.
_PASSED_OVER = ("pg_statistic", "pg_statistic_ext_data", "pg_largeobject")


def fingerprint(url: str) -> str:
    """Return the MD5 of every row of every table and catalog, each by itself in order.

    Nothing of ours may be connected any more: that is waited for.
    """
    with psycopg.connect(url, autocommit=True) as conn:
        _await_alone(conn)
        found = conn.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'S') AND c.relpersistence <> 't'"
            " AND n.nspname NOT IN ('pg_toast', 'information_schema') ORDER BY 1"
        ).fetchall()
        whole = hashlib.md5()
        for (name,) in found:
            if name not in _PASSED_OVER:
                query = (
                    f"SELECT coalesce(md5(string_agg(r, '' ORDER BY r)), '') FROM "
                    f"(SELECT (to_jsonb(t) - {_VOLATILE}::text[])::text AS r FROM (SELECT * FROM {name}) t) rows"
                )
                if name == "pg_database":
                    query = query.replace(" t)", " t WHERE datname = current_database())")
                if name == "pg_shdescription":
                    query = query.replace(" t)", " t WHERE false)")
                whole.update(f"{name} {conn.execute(query.encode()).fetchone()}".encode())
        return whole.hexdigest()


def _await_alone(conn: psycopg.Connection) -> None:
    deadline = time.monotonic() + 60
    alone = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    while conn.execute(alone).fetchone() != (0,):
        assert time.monotonic() < deadline
        time.sleep(0.02)
