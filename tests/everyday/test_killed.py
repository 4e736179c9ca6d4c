"""A no-transaction migration resumes after SIGKILL at any statement: none is lost, none runs twice."""

from __future__ import annotations

import signal

import pytest

from tests.project import applied, ended, wait_until

pytestmark = pytest.mark.slow

# Each statement of the first list waits at a gate of its own: an advisory lock of its number.
GATED = [
    "CREATE TABLE jam AS SELECT 1 AS step FROM pg_advisory_xact_lock_shared(1)",
    "INSERT INTO jam SELECT 2 FROM pg_advisory_xact_lock_shared(2)",
    "DO $$ BEGIN PERFORM pg_advisory_xact_lock_shared(3); INSERT INTO jam VALUES (3); END $$",
    "INSERT INTO jam SELECT max(step) + 1 FROM jam, pg_advisory_xact_lock_shared(4)",
    "UPDATE jam SET step = step * 10 FROM pg_advisory_xact_lock_shared(5)",
]
INDEX = "-- confiture: no-transaction\nINSERT INTO jam VALUES (1);\n{outside};\nINSERT INTO jam VALUES (2);\n"


@pytest.fixture
def gated(project):
    project.write("1_jam.sql", "-- confiture: no-transaction\n" + "".join(f"{name};\n" for name in GATED))
    return project


def waits_at(database, gate):
    """Return a condition: somebody waits at this gate."""
    return lambda: database.execute(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        [gate],
    ).fetchone()


def waits_for(database, relation):
    """Return a condition: the pid of somebody who waits for a lock on this relation."""

    def look():
        found = database.execute(
            "SELECT pid FROM pg_locks WHERE NOT granted AND relation = %s::regclass", [relation]
        ).fetchone()
        return found and found[0]

    return look


def waits_for_transaction(database):
    """Return a condition: somebody waits for another's transaction to end, as CONCURRENTLY does."""
    return lambda: database.execute(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'virtualxid' AND datname = current_database()"
    ).fetchone()


def builds(database):
    """Return a condition: the pid of somebody whose index build waits for old transactions."""

    def look():
        found = database.execute(
            "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database()"
            " AND phase LIKE 'waiting for old snapshots'"
        ).fetchone()
        return found and found[0]

    return look


def gone(database, pid):
    """Return a condition: this session has ended."""
    return lambda: not database.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()


def kill_at(project, database, second, gate):
    """Run until it waits at ``gate``, and kill it there."""
    second.execute("SELECT pg_advisory_lock(%s)", [gate])
    run = project.start("run")
    wait_until(waits_at(database, gate), run)
    assert ended(run, signal.SIGKILL).code == -signal.SIGKILL
    second.execute("SELECT pg_advisory_unlock(%s)", [gate])


def done_steps(database):
    query = "SELECT count(*) FROM confiture.progress WHERE done_at IS NOT NULL"
    return database.execute(query).fetchone()[0]


@pytest.mark.parametrize("gate", range(1, len(GATED) + 1))
def test_killed_inside_a_statement_it_goes_on_with_that_one(gated, database, second, gate):
    kill_at(gated, database, second, gate)
    recorded = done_steps(database)

    answer = gated("run", "--output", "json")

    assert recorded == gate - 1
    assert answer.code == 0, answer.err
    assert len(answer.json["migrations"][0]["statements"]) == len(GATED) - recorded
    assert database.execute("SELECT step FROM jam ORDER BY 1").fetchall() == [(10,), (20,), (30,), (40,)]
    assert applied(database) == ["1"]


def test_killed_at_every_statement_in_turn_each_still_runs_once(gated, database, second):
    for gate in range(1, len(GATED) + 1):
        kill_at(gated, database, second, gate)

    answer = gated("run")

    assert answer.code == 0, answer.err
    assert database.execute("SELECT step FROM jam ORDER BY 1").fetchall() == [(10,), (20,), (30,), (40,)]
    assert database.execute("SELECT count(*) FROM confiture.progress").fetchone() == (0,)


def test_killed_just_before_the_ledger_row_it_only_writes_that(gated, database, second):
    gated.write("0_first.sql", "SELECT 1;")
    assert gated("run", "--to", "0").code == 0
    second.execute("BEGIN; LOCK TABLE confiture.ledger IN SHARE MODE")
    run = gated.start("run")
    wait_until(waits_for(database, "confiture.ledger"), run)
    ended(run, signal.SIGKILL)
    second.execute("COMMIT")

    answer = gated("run", "--output", "json")

    assert answer.code == 0, answer.err
    assert answer.json["migrations"][0]["statements"] == []
    assert database.execute("SELECT count(*) FROM jam").fetchone() == (4,)
    assert applied(database) == ["0", "1"]


def test_killed_in_a_hook_after_the_statements_it_runs_the_hooks_alone(gated, database, second):
    gated.install(
        "counter",
        "from confiture import hookimpl\n\n\n@hookimpl\ndef after_ddl(conn):\n"
        "    conn.execute('SELECT pg_advisory_xact_lock_shared(9)')\n"
        "    conn.execute('INSERT INTO jam VALUES (9)')\n",
    )
    gated.configure('plugins = ["counter"]')
    kill_at(gated, database, second, 9)

    answer = gated("run")

    assert answer.code == 0, answer.err
    rows = database.execute("SELECT step FROM jam ORDER BY 1").fetchall()
    assert rows == [(9,), (10,), (20,), (30,), (40,)]


@pytest.fixture
def building(project, database, second):
    """A build of an index that was killed while it waits for an old transaction: the pid at the server."""
    database.execute("CREATE TABLE jam (step int)")
    project.write("1_jam.sql", INDEX.format(outside="CREATE INDEX CONCURRENTLY jam_step ON jam (step)"))
    second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    run = project.start("run")
    wait_until(builds(database), run)
    pid = builds(database)()
    ended(run, signal.SIGKILL)
    return pid


def test_an_index_still_being_built_is_said_to_be(project, building, second):
    answer = project("repair", "--output", "json")
    second.execute("COMMIT")

    (found,) = answer.json["unfinished"]
    assert found["invalid_indexes"] == [{"index": "public.jam_step", "builder_pid": building}]
    assert any(f"pid {building} is still building public.jam_step" in note for note in found["notes"])
    assert found["commands"] == ["confiture repair 1"]


def test_an_index_that_the_server_finished_by_itself_is_not_built_again(project, building, database, second):
    second.execute("COMMIT")
    wait_until(gone(database, building))
    before = database.execute("SELECT 'jam_step'::regclass::oid, indisvalid FROM pg_index").fetchone()

    answer = project("run")

    assert answer.code == 0, answer.err
    assert database.execute("SELECT 'jam_step'::regclass::oid").fetchone() == before[:1]
    assert database.execute("SELECT step FROM jam ORDER BY 1").fetchall() == [(1,), (2,)]


def test_an_invalid_index_is_seven_and_repair_shows_the_way_to_the_end(project, building, database, second):
    database.execute("SELECT pg_terminate_backend(%s)", [building])
    second.execute("COMMIT")
    wait_until(gone(database, building))

    refused = project("run")
    (found,) = project("repair", "--output", "json").json["unfinished"]
    database.execute(found["commands"][0])
    answer = project(*found["commands"][1].split()[1:])

    assert refused.code == 7
    assert "confiture repair 1" in refused.err
    assert found["commands"] == ["DROP INDEX CONCURRENTLY public.jam_step;", "confiture run"]
    assert answer.code == 0, answer.err
    assert database.execute("SELECT step FROM jam ORDER BY 1").fetchall() == [(1,), (2,)]
    valid = database.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'jam_step'::regclass")
    assert valid.fetchone() == (True,)


def test_killed_between_the_end_of_a_build_and_its_record_it_is_not_built_again(
    project, database, second, database_url
):
    import psycopg

    database.execute("CREATE TABLE jam (step int)")
    project.write("1_jam.sql", INDEX.format(outside="CREATE INDEX CONCURRENTLY jam_step ON jam (step)"))
    second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    run = project.start("run")
    wait_until(builds(database), run)
    with psycopg.connect(database_url) as third:
        third.execute("LOCK TABLE confiture.progress IN SHARE MODE")
        second.execute("COMMIT")
        wait_until(waits_for(database, "confiture.progress"), run)
        ended(run, signal.SIGKILL)
    before = database.execute("SELECT 'jam_step'::regclass::oid").fetchone()

    answer = project("run")

    assert answer.code == 0, answer.err
    assert database.execute("SELECT 'jam_step'::regclass::oid").fetchone() == before
    assert database.execute("SELECT step FROM jam ORDER BY 1").fetchall() == [(1,), (2,)]


@pytest.mark.parametrize(
    "before, outside",
    [
        ("CREATE INDEX jam_step ON jam (step)", "DROP INDEX CONCURRENTLY jam_step"),
        (
            "CREATE TABLE part PARTITION OF jam FOR VALUES IN (1, 2)",
            "ALTER TABLE jam DETACH PARTITION part CONCURRENTLY",
        ),
    ],
)
def test_killed_between_the_end_of_a_drop_or_detach_and_its_record_it_goes_on_after_it(
    project, database, second, database_url, before, outside
):
    import psycopg

    database.execute(f"CREATE TABLE jam (step int) {'PARTITION BY LIST (step)' * ('PART' in outside)}")
    database.execute(before)
    text = f"-- confiture: no-transaction\n{outside};\nCREATE TABLE lid AS SELECT 2 AS step;\n"
    project.write("1_jam.sql", text)
    second.execute("BEGIN; SELECT * FROM jam")
    run = project.start("run")
    wait_until(waits_for_transaction(database), run)
    with psycopg.connect(database_url) as third:
        third.execute("LOCK TABLE confiture.progress IN SHARE MODE")
        second.execute("COMMIT")
        wait_until(waits_for(database, "confiture.progress"), run)
        ended(run, signal.SIGKILL)
    (found,) = project("repair", "--output", "json").json["unfinished"]

    answer = project("run")

    assert "line 2 was begun and has had its effect" in found["notes"][0]
    assert found["commands"] == ["confiture run"]
    assert answer.code == 0, answer.err
    assert database.execute("SELECT step FROM lid").fetchall() == [(2,)]


@pytest.mark.parametrize(
    "outside",
    ["CREATE INDEX CONCURRENTLY jam_step ON jam (step)", "VACUUM jam", "REINDEX TABLE CONCURRENTLY jam"],
)
def test_killed_after_the_record_that_it_was_begun_it_is_run_again(project, database, second, outside):
    database.execute("CREATE TABLE jam (step int)")
    project.write("1_jam.sql", INDEX.format(outside=outside))
    second.execute("BEGIN; LOCK TABLE jam IN SHARE UPDATE EXCLUSIVE MODE")
    run = project.start("run")
    wait_until(waits_for(database, "jam"), run)
    orphan = waits_for(database, "jam")()
    ended(run, signal.SIGKILL)
    database.execute("SELECT pg_terminate_backend(%s)", [orphan])
    wait_until(gone(database, orphan))
    second.execute("COMMIT")
    (found,) = project("repair", "--output", "json").json["unfinished"]

    answer = project("run")

    assert [item["state"] for item in found["statements"]] == ["done", "begun", "pending"]
    assert found["commands"] == ["confiture run"]
    assert answer.code == 0, answer.err
    assert database.execute("SELECT step FROM jam ORDER BY 1").fetchall() == [(1,), (2,)]


def test_a_python_migration_that_was_killed_says_that_it_starts_over(project, database, second):
    project.write(
        "1_jam.py",
        "from confiture.models.migration import Migration\n\n\nclass Jam(Migration):\n"
        "    transactional = False\n\n    def up(self):\n"
        "        self.execute('CREATE TABLE IF NOT EXISTS jam (step int)')\n"
        "        self.execute('INSERT INTO jam VALUES (1)')\n"
        "        self.execute('SELECT pg_advisory_xact_lock_shared(1)')\n",
    )
    kill_at(project, database, second, 1)

    status = project("status", "--output", "json").json["migrations"]
    answer = project("run")

    assert [item["state"] for item in status] == ["unfinished"]
    assert answer.code == 0, answer.err
    assert (
        "warning: it starts over and repeats the statements that had run before it was stopped: 2"
        in answer.out
    )
    assert database.execute("SELECT step FROM jam").fetchall() == [(1,), (1,)]
    assert database.execute("SELECT count(*) FROM confiture.progress").fetchone() == (0,)


def test_a_python_migration_that_starts_over_and_fails_at_once_stays_unfinished(project, database):
    """What the first attempt has committed is still there."""
    text = (
        "from confiture.models.migration import Migration\n\n\nclass Jam(Migration):\n"
        "    transactional = False\n\n    def up(self):\n"
        "        self.execute('CREATE TABLE {condition} jam (step int)')\n"
        "        self.execute('INSERT INTO jam VALUES (1)')\n"
        "        self.execute('SELECT 1/{divisor}')\n"
    )
    project.write("1_jam.py", text.format(condition="", divisor=0))
    assert project("run").code == 4

    for _ in range(2):
        assert project("run").code == 4
        status = project("status", "--output", "json").json["migrations"]
        assert [item["state"] for item in status] == ["unfinished"]
    project.write("1_jam.py", text.format(condition="IF NOT EXISTS", divisor=0))
    assert project("run").code == 4
    project.write("1_jam.py", text.format(condition="IF NOT EXISTS", divisor=1))
    answer = project("run")

    assert "repeats the statements that had run before it was stopped: 4" in answer.out
    assert answer.code == 0
    assert database.execute("SELECT count(*) FROM confiture.progress").fetchone() == (0,)


def test_a_python_migration_that_failed_at_once_has_nothing_to_start_over(project, database):
    text = (
        "from confiture.models.migration import Migration\n\n\nclass Jam(Migration):\n"
        "    transactional = False\n\n    def up(self):\n        self.execute('SELECT 1/{divisor}')\n"
    )
    project.write("1_jam.py", text.format(divisor=0))
    assert project("run").code == 4
    project.write("1_jam.py", text.format(divisor=1))

    status = project("status", "--output", "json").json["migrations"]
    answer = project("run")

    assert [item["state"] for item in status] == ["pending"]
    assert answer.code == 0
    assert "starts over" not in answer.out
