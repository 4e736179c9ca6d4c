"""Whatever is killed, hangs or refuses: nothing is half-done, nothing is done twice, all is accounted for."""

from __future__ import annotations

import signal
import socket
from collections import Counter

import psycopg
import pytest

from tests.project import ended, exists, running, until, wait_until
from tests.restartable_server import find_other_programs, open_restartable_server

TENANTS = 8
SLOW = """
    CREATE TABLE orders (id int);
    SELECT pg_sleep(0.4);
    INSERT INTO orders VALUES (1);
    INSERT INTO public.trail VALUES (current_schema());
"""
# Stands for a migration that uses what only one major version has.
MORE = """
    CREATE TABLE more (id int);
    DO $$BEGIN
        IF current_setting('server_version_num')::int / 10000 <> {major} THEN
            RAISE 'another major version';
        END IF;
    END$$;
"""
STATES = "SELECT state FROM confiture.fleet_target WHERE run = 1 ORDER BY place"


@pytest.fixture
def fleet(project, database):
    """Eight tenants in one wave, and a migration that takes a while and leaves one row in a shared table."""
    database.execute("CREATE TABLE public.trail (tenant text)")
    for number in range(TENANTS):
        database.execute(f"CREATE SCHEMA tenant_{number}")
    project.write("1_orders.sql", SLOW)
    project.configure(
        f'[fleet]\nschemas = "tenant_*"\ncontrol = "{project.url}"\nwaves = ["100%"]\nstop_after = "100%"\n'
        "workers = 3\n"
    )
    return project


def read_states(conn) -> Counter[str]:
    """Return how many targets of the first run are in which state."""
    try:
        return Counter(state for (state,) in conn.execute(STATES))
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return Counter()


def assert_done_once(conn, tenants: int = TENANTS) -> None:
    """Every tenant has its table, its row and its ledger entry, once."""
    assert sorted(conn.execute("SELECT tenant FROM public.trail")) == [
        (f"tenant_{number}",) for number in range(tenants)
    ]
    for number in range(tenants):
        assert conn.execute(f"SELECT id FROM tenant_{number}.orders").fetchall() == [(1,)]
        versions = conn.execute(f"SELECT version FROM confiture_tenant_{number}.ledger").fetchall()
        assert versions == [("1",)]
    assert set(read_states(conn)) <= {"done", "unchanged"}


@pytest.mark.slow
def test_a_killed_coordinator_loses_nothing(fleet, database):
    with fleet.running("fleet", "run") as process:
        wait_until(lambda: read_states(database)["done"], process)
        process.send_signal(signal.SIGKILL)
    left = read_states(database)

    resumed = fleet("fleet", "run", "--resume", "1", "--output", "json")

    assert left["running"], left
    assert resumed.code == 0, resumed.err
    assert_done_once(database)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_pauses_the_run_once_what_has_begun_has_ended(fleet, database, number, code):
    process = fleet.start("fleet", "run")
    wait_until(lambda: read_states(database)["done"], process)

    answer = ended(process, number)
    paused = read_states(database)
    resumed = fleet("fleet", "run", "--resume", "1")

    assert answer.code == code
    assert "fleet run 1 is paused" in answer.out
    assert "confiture fleet run --resume 1" in answer.err
    assert not paused["running"]
    assert paused["waiting"]
    assert resumed.code == 0, resumed.err
    assert_done_once(database)


@pytest.mark.slow
def test_a_worker_whose_connection_is_killed_has_changed_nothing(fleet, database):
    process = fleet.start("fleet", "run", "--output", "json")
    pid = until(running(database, "pg_sleep(0.4)"), "a migration")
    database.execute("SELECT pg_terminate_backend(%s)", (pid,))
    answer = ended(process)

    resumed = fleet("fleet", "run", "--resume", "1", "--retry-failed", "--output", "json")

    assert answer.code != 0
    assert Counter(one["state"] for one in answer.json["targets"]) == {"done": TENANTS - 1, "failed": 1}
    (lost,) = (one for one in answer.json["targets"] if one["state"] == "failed")
    assert "terminating connection" in lost["error"]
    assert resumed.code == 0, resumed.err
    assert_done_once(database)


@pytest.mark.slow
def test_a_lost_control_database_ends_what_has_begun_and_nothing_else(fleet, database):
    process = fleet.start("fleet", "run")
    wait_until(lambda: read_states(database)["done"], process)
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND query LIKE '%fleet_target%'"
    )
    answer = ended(process)

    resumed = fleet("fleet", "run", "--resume", "1")

    assert answer.code == 3
    assert "the control database was lost" in answer.err
    assert "--resume 1" in answer.err
    assert resumed.code == 0, resumed.err
    assert_done_once(database)


@pytest.mark.slow
def test_two_coordinators_never_share_a_run(fleet, database):
    process = fleet.start("fleet", "run")
    wait_until(lambda: read_states(database)["running"], process)

    second = fleet("fleet", "run", "--resume", "1")
    first = ended(process)

    assert second.code == 6
    assert "another process works on fleet run 1" in second.err
    assert first.code == 0
    assert_done_once(database)


@pytest.mark.slow
def test_two_runs_at_once_migrate_every_target_once(fleet, database):
    other = fleet.start("fleet", "run", "--output", "json")

    answer = fleet("fleet", "run", "--output", "json")

    assert answer.code == 0, answer.err
    assert ended(other).code == 0
    assert_done_once(database)


@pytest.mark.slow
def test_a_target_that_hangs_is_bounded_by_its_timeouts(fleet, database, second):
    database.execute("CREATE TABLE tenant_5.parts (id int)")
    fleet.write("1_orders.sql", "-- confiture: lock_timeout=100ms\n" + SLOW + "DROP TABLE IF EXISTS parts;")
    second.execute("BEGIN; LOCK TABLE tenant_5.parts")

    answer = fleet("fleet", "run", "--output", "json")
    second.execute("ROLLBACK")
    resumed = fleet("fleet", "run", "--resume", "1", "--retry-failed")

    assert answer.code == 6
    assert [one["state"] for one in answer.json["targets"]].count("failed") == 1
    assert "lock timeout" in answer.json["targets"][5]["error"]
    assert resumed.code == 0, resumed.err
    assert_done_once(database)


@pytest.mark.slow
def test_a_deadlock_on_a_shared_object_fails_one_target_whole(fleet, database):
    database.execute(
        "CREATE TABLE public.shared (id int, n int); INSERT INTO public.shared VALUES (0, 0), (1, 0)"
    )
    number = "right(current_schema(), 1)::int % 2"
    fleet.write(
        "1_orders.sql",
        f"UPDATE public.shared SET n = n + 1 WHERE id = {number};\n{SLOW}"
        f"UPDATE public.shared SET n = n + 1 WHERE id = 1 - {number};",
    )

    first = fleet("fleet", "run", "--output", "json")
    for _ in range(TENANTS):
        fleet("fleet", "run", "--resume", "1", "--retry-failed", "--workers", "1")

    assert any("deadlock" in (one["error"] or "") for one in first.json["targets"])
    assert database.execute("SELECT n FROM public.shared").fetchall() == [(TENANTS,)] * 2
    assert_done_once(database)


@pytest.mark.slow
def test_a_server_that_accepts_and_says_nothing_fails_alone(project, database):
    project.write("1_orders.sql", "CREATE TABLE orders (id int);")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"host=127.0.0.1 port={silent.getsockname()[1]} dbname=silent connect_timeout=2"
        (project.folder / "targets.csv").write_text(f"name,url\na,{where}\nb,{project.url}\n")

        answer = project(
            *("fleet", "run", "--targets", "targets.csv", "--control", project.url),
            *("--stop-after", "100%", "--output", "json"),
        )

    assert answer.code == 3
    assert [one["state"] for one in answer.json["targets"]] == ["failed", "done"]
    assert "timeout expired" in answer.json["targets"][0]["error"]
    assert exists(database, "orders")


@pytest.mark.slow
def test_a_killed_server_is_gone_on_with_when_it_is_back(project, database):
    project.write("1_orders.sql", "CREATE TABLE orders (id int);\nSELECT pg_sleep(0.4);")
    with open_restartable_server() as server, psycopg.connect(server.url, autocommit=True) as conn:
        for number in range(2):
            conn.execute(f"CREATE SCHEMA tenant_{number}".encode())
        project.configure(
            f'url = "{server.url}"\n[fleet]\nschemas = "tenant_*"\ncontrol = "{project.url}"\n'
            'waves = ["100%"]\nstop_after = "100%"\nworkers = 2\n'
        )
        project.url = ""
        process = project.start("fleet", "run", "--output", "json")
        wait_until(lambda: read_states(database)["running"], process)
        until(running(conn, "pg_sleep(0.4)"), "a migration")
        server.kill()
        killed = ended(process)
        server.start()

        resumed = project("fleet", "run", "--resume", "1", "--retry-failed", "--output", "json")

        with psycopg.connect(server.url) as after:
            done = after.execute("SELECT count(*) FROM pg_tables WHERE tablename = 'orders'").fetchone()
            ledgers = after.execute("SELECT count(*) FROM pg_tables WHERE tablename = 'ledger'").fetchone()
    assert killed.code != 0
    assert read_states(database)["running"] == 0
    assert {one["state"] for one in killed.json["targets"]} >= {"failed"}
    assert resumed.code == 0, resumed.err
    assert done == ledgers == (2,)


@pytest.mark.slow
def test_a_target_on_another_major_version_is_migrated_too_or_fails_alone_and_whole(project, database):
    bindir = find_other_programs()
    if bindir is None:
        pytest.skip("the programs of one major version of PostgreSQL only are installed")
    project.write("1_orders.sql", "CREATE TABLE orders (id int);")
    with open_restartable_server(bindir) as server:
        (project.folder / "targets.csv").write_text(f"name,url\nours,{project.url}\nother,{server.url}\n")
        project.configure(
            f'[fleet]\ntargets = "targets.csv"\ncontrol = "{project.url}"\nstop_after = "100%"\n'
        )
        both = project("fleet", "run", "--output", "json")
        drift = project("fleet", "status", "--drift", "--output", "json")
        # Neither what another version calls by another name, nor what stands before it, may stay.
        major = database.info.server_version // 10000
        project.write("2_more.sql", MORE.format(major=major))

        one = project("fleet", "run", "--output", "json")

        with psycopg.connect(server.url) as conn:
            left = exists(conn, "more")
    assert [target["state"] for target in both.json["targets"]] == ["done", "done"]
    assert [group["targets"] for group in drift.json["servers"]] == [["ours"], ["other"]]
    assert one.code == 4
    assert [target["state"] for target in one.json["targets"]] == ["done", "failed"]
    assert "another major version" in one.json["targets"][1]["error"]
    assert not left


def test_an_unreachable_target_fails_and_the_others_go_on(project, database, alone):
    project.write("1_orders.sql", "CREATE TABLE orders (id int);")
    text = (
        f"name,url\na,{project.url}\nb,postgresql://127.0.0.1:1/x\nc,{alone}\nd,postgresql://${{ABSENT}}/x\n"
    )
    (project.folder / "targets.csv").write_text(text)

    answer = project(
        *("fleet", "run", "--targets", "targets.csv", "--control", project.url),
        *("--stop-after", "100%", "--output", "json"),
    )

    assert answer.code == 4
    assert [one["state"] for one in answer.json["targets"]] == ["done", "failed", "done", "failed"]
    assert "cannot connect" in answer.json["targets"][1]["error"]
    assert "the environment variable ABSENT is not set" in answer.json["targets"][3]["error"]


def test_a_target_in_another_version_is_named_and_left_alone(fleet, database):
    fleet.write("1_orders.sql", "INSERT INTO public.trail VALUES (current_schema());")
    fleet("fleet", "run")
    database.execute("UPDATE confiture_tenant_2.ledger SET version = '7', name = 'other'")

    answer = fleet("fleet", "run", "--output", "json")

    assert answer.code == 7
    assert [one["state"] for one in answer.json["targets"]].count("unchanged") == TENANTS - 1
    assert "7" in answer.json["targets"][2]["error"]
    assert len(database.execute("SELECT FROM public.trail").fetchall()) == TENANTS
