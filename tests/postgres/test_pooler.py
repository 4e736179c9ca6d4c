"""Behind PgBouncer in transaction mode: one run at a time, and a session where one is needed."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from confiture.api.operations import run
from confiture.config.settings import Settings
from confiture.exceptions import ConfigurationFault, ConnectionFault, LockFault

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = pytest.mark.skipif(
    PGBOUNCER is None, reason="pgbouncer is not installed; where it is (Debian: pgbouncer), this runs"
)

CONFIGURATION = """
[databases]
jam = host={host} port={port} dbname={dbname} user=postgres
one = host={host} port={port} dbname={dbname} user=postgres pool_size=1
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
logfile = {folder}/log
pidfile = {folder}/pid
ignore_startup_parameters = extra_float_digits
"""


@pytest.fixture
def pooler(database_url):
    """The folder of a pooler's socket; it serves the database as ``jam``, and as ``one`` with one connection."""
    folder = Path(tempfile.mkdtemp(prefix="pooler-"))
    parts = {"host": "", "port": "5432", **conninfo_to_dict(database_url)}
    (folder / "ini").write_text(
        CONFIGURATION.format(folder=folder, **{k: parts[k] for k in ("host", "port", "dbname")})
    )
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to be root; the server's socket belongs to this one
        owner = Path(str(parts["host"])).stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        as_user = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    process = subprocess.Popen([str(PGBOUNCER), "-q", str(folder / "ini")], cwd="/", **as_user)
    while not (folder / ".s.PGSQL.6432").exists():
        assert process.poll() is None
        time.sleep(0.02)
    yield folder
    process.terminate()
    process.wait()
    shutil.rmtree(folder)


@pytest.fixture
def settings(pooler, tmp_path):
    (tmp_path / "1_jam.sql").write_text("CREATE TABLE jam (fruit text)")
    url = f"host={pooler} port=6432 user=postgres dbname=jam"
    return Settings(root=tmp_path, url=url, migrations=tmp_path, lock_wait_s=0.3)


def outside(settings):
    text = "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY jam_fruit ON jam (fruit)"
    (settings.migrations / "2_index.sql").write_text(text)


def test_migrations_are_applied_through_a_pooler(settings, database):
    assert run(settings).exit_code == 0
    assert database.execute("SELECT version FROM confiture.ledger").fetchall() == [("1",)]


def test_one_run_at_a_time_holds_through_a_pooler(settings):
    from confiture.ledger.migration_lock import take_migration_lock
    from confiture.postgres.connect import connect

    with (
        take_migration_lock(connect(settings), settings.schema, 0),
        pytest.raises(LockFault, match="another run"),
    ):
        run(settings)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_no_transaction_migration_asks_for_direct_url_before_anything_runs(settings, database, dry_run):
    outside(settings)

    with pytest.raises(ConfigurationFault, match="transaction pooler") as caught:
        run(settings, dry_run=dry_run)

    assert "direct_url" in str(caught.value.hint)
    assert database.execute("SELECT to_regclass('jam')").fetchall() == [(None,)]


def test_with_direct_url_it_runs_past_the_pooler(settings, database, database_url):
    outside(settings)
    direct = Settings(
        root=settings.root, url=settings.url, migrations=settings.migrations, direct_url=database_url
    )

    assert run(direct).exit_code == 0
    assert database.execute("SELECT to_regclass('jam_fruit') IS NOT NULL").fetchall() == [(True,)]


def test_a_pool_of_one_is_an_error_and_no_hang(settings, pooler, monkeypatch):
    monkeypatch.setattr("confiture.postgres.connect._PATIENCE_S", 0.5)
    url = f"host={pooler} port=6432 user=postgres dbname=one"
    one = Settings(root=settings.root, url=url, migrations=settings.migrations)

    with pytest.raises(ConnectionFault, match="could not get a second connection") as caught:
        run(one)

    assert caught.value.exit_code == 3
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT to_regclass('jam')").fetchall() == [(None,)]
