"""A server that does nothing by itself, and a database a case on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection

from confiture.testing.databases import TemplateDatabases
from confiture.testing.servers import open_test_server
from tests.accuracy.cases import Case


@contextmanager
def open_laboratory() -> Iterator[TemplateDatabases]:
    """Lend a server, and the databases that those of the cases are copied from."""
    with (
        open_test_server() as server,
        psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn,
        disable_autovacuum(conn),
    ):
        yield TemplateDatabases(server, conn)


@contextmanager
def disable_autovacuum(conn: Connection[Any]) -> Iterator[None]:
    """Keep the server from vacuuming: that would look like something that a rehearsal left behind."""
    conn.execute("ALTER SYSTEM SET autovacuum = off")
    conn.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        conn.execute("ALTER SYSTEM RESET autovacuum")
        conn.execute("SELECT pg_reload_conf()")


@contextmanager
def prepare(templates: TemplateDatabases, case: Case) -> Iterator[str]:
    """Lend a database with the case's setup in it."""
    name = templates.copy(templates.get_template(f"{case.setup.rstrip().rstrip(';')}; ANALYZE;"))
    try:
        yield templates.server.conninfo(name)
    finally:
        templates.drop(name)


def read_major(conn: Connection[Any]) -> int:
    """Return the server's major version."""
    return conn.info.server_version // 10000
