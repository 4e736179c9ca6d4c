"""``repair`` shows what was done and the exact next command; its flags change the ledger."""

from __future__ import annotations

import pytest

from tests.project import applied, running, wait_until

pytestmark = pytest.mark.slow

INDEX = """\
-- confiture: no-transaction
CREATE TABLE jam (i int);
INSERT INTO jam VALUES (1), (1);
CREATE UNIQUE INDEX CONCURRENTLY "Jam I" ON jam (i);
INSERT INTO jam VALUES (3);
"""


@pytest.fixture
def broken(project):
    """A migration that has left an invalid index."""
    project.write("1_jam.sql", INDEX)
    assert project("run").code == 4
    return project


def test_it_shows_what_was_done_what_is_left_and_the_exact_next_commands(broken):
    answer = broken("repair", "1", "--output", "json")

    assert answer.code == 0
    (found,) = answer.json["unfinished"]
    assert [(item["line"], item["state"]) for item in found["statements"]] == [
        (2, "done"),
        (3, "done"),
        (4, "begun"),
        (5, "pending"),
    ]
    assert found["invalid_indexes"] == [{"index": 'public."Jam I"', "builder_pid": None}]
    assert found["commands"] == ['DROP INDEX CONCURRENTLY public."Jam I";', "confiture run"]


def test_the_commands_it_shows_are_the_way_on(broken, database):
    (found,) = broken("repair", "--output", "json").json["unfinished"]
    database.execute("DELETE FROM jam WHERE ctid = (SELECT min(ctid) FROM jam)")

    database.execute(found["commands"][0])
    answer = broken(*found["commands"][1].split()[1:])

    assert answer.code == 0, answer.err
    assert applied(database) == ["1"]
    assert database.execute("SELECT i FROM jam ORDER BY i").fetchall() == [(1,), (3,)]
    assert broken("repair").out == "nothing to repair\n"


def test_as_text_each_command_stands_on_a_line_of_its_own(broken):
    lines = broken("repair").out.splitlines()

    assert '    DROP INDEX CONCURRENTLY public."Jam I";' in lines
    assert "    confiture run" in lines


def test_a_finished_part_that_changed_is_shown(broken):
    broken.write("1_jam.sql", INDEX.replace("(1), (1)", "(1), (2)"))

    (found,) = broken("repair", "--output", "json").json["unfinished"]

    assert [item["state"] for item in found["statements"]] == ["done", "changed", "begun", "pending"]
    assert any("start over" in note for note in found["notes"])


def test_where_run_would_refuse_the_next_command_is_another(project):
    """The finished part has changed, the directive is gone, or the file cannot be read."""
    text = "-- confiture: no-transaction\nCREATE TABLE jam (i int);\nSELECT 1/0;\n"
    project.write("1_jam.sql", text)
    assert project("run").code == 4

    def find_commands(changed: str) -> list[str]:
        project.write("1_jam.sql", changed)
        assert project("run").code in (4, 7)
        return project("repair", "--output", "json").json["unfinished"][0]["commands"]

    assert find_commands(text.replace("int", "bigint")) == ["confiture repair --forget 1"]
    assert find_commands(text.partition("\n")[2]) == ["confiture repair --forget 1"]
    assert find_commands(text.replace("SELECT", "SELEKT")) == ["confiture repair 1"]


def test_while_a_run_is_in_progress_the_next_command_is_to_look_again(project, database):
    project.write(
        "1_jam.sql",
        "-- confiture: no-transaction\nCREATE TABLE jam (i int);\nSELECT pg_advisory_xact_lock(7);\n",
    )
    database.execute("SELECT pg_advisory_lock(7)")

    with project.running("run") as process:
        wait_until(running(database, "pg_advisory_xact_lock(7)"), process)
        (found,) = project("repair", "--output", "json").json["unfinished"]
        database.execute("SELECT pg_advisory_unlock(7)")
        process.communicate()

    assert found["commands"] == ["confiture repair 1"]
    assert "a run is in progress" in found["notes"][0]


def test_an_unfinished_migration_whose_file_is_gone_can_be_forgotten(broken, database):
    (broken.migrations / "1_jam.sql").unlink()
    (shown,) = broken("repair", "--output", "json").json["unfinished"]

    answer = broken(*shown["commands"][0].split()[1:])

    assert shown["commands"] == ["confiture repair --forget 1"]
    assert answer.code == 0
    assert database.execute("SELECT count(*) FROM confiture.progress").fetchone() == (0,)


def test_a_file_that_is_faulty_now_is_said_to_be(broken):
    broken.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABEL jam (i int);\n")

    answer = broken("repair")

    assert answer.code == 0
    assert "its file cannot be read" in answer.out


def test_an_unfinished_down_is_finished_by_down(project, database):
    project.write(
        "1_jam.sql",
        "-- confiture: no-transaction\n-- migrate:up\nCREATE TABLE jam (i int);\n"
        "-- migrate:down\nDROP TABLE jam;\nSELECT 1/0;\n",
    )
    assert project("run").code == 0
    assert project("down").code == 4

    (found,) = project("repair", "--output", "json").json["unfinished"]

    assert found["direction"] == "backward"
    assert [item["state"] for item in found["statements"]] == ["done", "pending"]
    assert found["commands"] == ["confiture down"]


def test_a_python_migration_is_said_to_start_over(project):
    project.write(
        "1_jam.py",
        "from confiture.models.migration import Migration\n\n\nclass Jam(Migration):\n"
        "    transactional = False\n\n    def up(self):\n"
        "        self.execute('CREATE TABLE IF NOT EXISTS jam (i int)')\n        self.execute('SELECT 1/0')\n",
    )
    assert project("run").code == 4

    answer = project("repair")

    assert "starts over; statements that had run before it was stopped: 1" in answer.out
    assert "    confiture run" in answer.out.splitlines()


def test_a_generator_hooks_progress_is_shown(project):
    project.install(
        "filler",
        "from confiture import hookimpl\n\n\n@hookimpl\ndef after_ddl(conn):\n"
        "    yield {'key': 7}\n    raise ValueError('burnt')\n",
    )
    project.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam (i int);\n")
    assert project("run", "--plugins").code == 5

    (found,) = project("repair", "--output", "json").json["unfinished"]

    assert [(item["phase"], item["plugin"], item["progress"]) for item in found["hooks"]] == [
        ("after_ddl", "filler", {"key": 7})
    ]


def test_accept_changed_takes_the_file_as_it_is(project, database):
    project.write("01_jam.sql", "CREATE TABLE jam (i int);")
    assert project("run").code == 0
    project.write("01_jam.sql", "CREATE TABLE jam (i int); -- checked\n")
    assert project("verify").code == 7

    answer = project("repair", "--accept-changed", "1")

    assert answer.code == 0
    assert project("verify").code == 0
    assert "nothing to do" in project("repair", "--accept-changed", "1").out


def test_repair_lists_changed_and_missing_files_with_the_way_on(project):
    project.write("1_jam.sql", "CREATE TABLE jam (i int);")
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")
    assert project("run").code == 0
    project.write("1_jam.sql", "CREATE TABLE jam (i bigint);")
    (project.migrations / "2_fig.sql").unlink()

    answer = project("repair")

    assert answer.code == 0
    assert "confiture repair --accept-changed 1" in answer.out
    assert "confiture repair --forget 2" in answer.out


def test_forget_takes_a_missing_migration_out_of_the_ledger(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam (i int);")
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")
    assert project("run").code == 0
    (project.migrations / "2_fig.sql").unlink()

    answer = project("repair", "--forget", "02")

    assert answer.code == 0
    assert "its changes in the database remain" in answer.out
    assert applied(database) == ["1"]
    assert project("verify").code == 0


def test_the_last_missing_file_can_be_forgotten_too(project, database):
    path = project.write("1_jam.sql", "CREATE TABLE jam (i int);")
    assert project("run").code == 0
    path.unlink()

    assert project("repair", "--forget", "1").code == 0
    assert applied(database) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--forget", "1"), "nothing to forget"),
        (("--forget", "9"), "version '9' is not in the ledger"),
        (("--forget", "two"), "version 'two' is not in the ledger"),
        (("--accept-changed", "2"), "is not applied"),
        (("--accept-changed", "9"), "no migration of version '9'"),
        (("9",), "version '9' is neither in the ledger nor in the migrations folder"),
        (("1", "--forget", "1"), "give one of"),
    ],
)
def test_what_cannot_be_repaired_ends_in_two_and_changes_nothing(project, database, arguments, words):
    project.write("1_jam.sql", "CREATE TABLE jam (i int);")
    assert project("run").code == 0
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")

    answer = project("repair", *arguments)

    assert answer.code == 2
    assert words in answer.err
    assert applied(database) == ["1"]


def test_a_role_that_may_not_write_the_ledger_is_told_so(project, database, database_url):
    from psycopg.conninfo import make_conninfo

    path = project.write("1_jam.sql", "CREATE TABLE jam (i int);")
    assert project("run").code == 0
    path.unlink()
    database.execute(
        "CREATE ROLE watcher LOGIN; GRANT USAGE ON SCHEMA confiture TO watcher;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA confiture TO watcher"
    )
    try:
        project.url = make_conninfo(database_url, user="watcher")

        answer = project("repair", "--forget", "1")
    finally:
        database.execute("DROP OWNED BY watcher; DROP ROLE watcher")

    assert answer.code == 4
    assert "may not write the ledger" in answer.err
    assert applied(database) == ["1"]
