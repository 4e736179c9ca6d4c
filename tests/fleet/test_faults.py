"""Whatever is killed, hangs or refuses: nothing is half-done, nothing is done twice, all is accounted for."""

from __future__ import annotations

import signal
from collections import Counter

import psycopg
import pytest

from tests.project import ended, running, until, wait_until

TENANTS = 8
SLOW = """
    CREATE TABLE orders (id int);
    SELECT pg_sleep(0.4);
    INSERT INTO orders VALUES (1);
    INSERT INTO public.trail VALUES (current_schema());
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
