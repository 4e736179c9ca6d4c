"""A statement that commits by itself is not sent again until its effect is known, whatever stopped it."""

from __future__ import annotations

import re
import signal

import pytest

from confiture.ledger.table import Ledger
from confiture.models.ledger import LedgerEntry
from tests.project import applied, ended, exists, running, wait_until

pytestmark = pytest.mark.slow

HEAD = "-- confiture: no-transaction\n"
BATCHES = """\
DO $$ BEGIN FOR batch IN 1..3 LOOP UPDATE jam SET jars = jars + 1; COMMIT; END LOOP; {end}; END $$;
"""
PROCEDURE = """\
CREATE PROCEDURE fill() LANGUAGE plpgsql AS
    $$ BEGIN UPDATE jam SET jars = jars + 1; COMMIT; PERFORM 1 / 0; END $$
"""
WHOLE = "may be committed, whole or in part"


@pytest.fixture
def jam(project, database):
    """A table whose only row counts how often it was changed."""
    database.execute("CREATE TABLE jam AS SELECT 0 AS jars")
    return project


@pytest.fixture
def stopped(jam):
    """A migration whose second statement has committed three times and then failed."""
    jam.write(
        "1_fill.sql", HEAD + "CREATE TABLE pot ();\n" + BATCHES.format(end="PERFORM 1 / 0") + "SELECT 1;\n"
    )
    assert jam("run").code == 4
    return jam


def count(database):
    return database.execute("SELECT jars FROM jam").fetchone()[0]


def last(answer):
    """Return the last line of a report."""
    return answer.out.strip().splitlines()[-1]


def states(project):
    return [item["state"] for item in project("status", "--output", "json").json["migrations"]]


def begin(project, database, version, step, sql):
    """Leave the record that a run leaves which is killed after it has begun a statement."""
    ledger = Ledger("confiture")
    ledger.create(database)
    database.execute(ledger.render_begin_step_sql(LedgerEntry(version, "jam", None, None), step, sql))


class TestAfterAFailure:
    def test_the_last_line_counts_what_is_committed_and_what_may_be(self, jam):
        jam.write("1_fill.sql", HEAD + "CREATE TABLE pot ();\n" + BATCHES.format(end="PERFORM 1 / 0"))

        answer = jam("run")

        assert answer.code == 4
        assert "1 of 2 statements is committed (line 2); line 3 " + WHOLE in last(answer)
        assert last(answer).endswith("next: confiture repair 1")
        assert "rolled back" not in answer.out
        assert "nothing was applied" not in answer.out

    def test_the_reason_is_in_the_json_report(self, jam):
        jam.write("1_fill.sql", HEAD + BATCHES.format(end="PERFORM 1 / 0"))

        (migration,) = jam("run", "--output", "json").json["migrations"]

        assert migration["outcome"] == "failed"
        assert f"no statement is committed; line 2 {WHOLE}" in migration["reason"]

    @pytest.mark.parametrize("name", ["markdown", "junit", "sarif", "github", "gitlab", "html"])
    def test_it_is_in_every_other_report_too(self, jam, name):
        jam.write("1_fill.sql", HEAD + BATCHES.format(end="PERFORM 1 / 0"))

        answer = jam("run", "--output", name)

        assert f"line 2 {WHOLE}" in answer.out

    def test_it_is_unfinished_and_the_next_run_does_not_send_it_again(self, stopped, database):
        again = stopped("run")

        assert states(stopped) == ["unfinished"]
        assert again.code == 7
        assert last(again).endswith("it is unfinished, and nothing more was sent; next: confiture repair 1")
        assert "confiture repair --done 1:3" in again.err
        assert "confiture repair --again 1:3" in again.err
        assert count(database) == 3

    def test_repair_says_what_may_have_happened_and_both_answers(self, stopped):
        (found,) = stopped("repair", "--output", "json").json["unfinished"]
        shown = stopped("repair").out

        assert [item["state"] for item in found["statements"]] == ["done", "begun", "pending"]
        assert any(f"line 3 was begun and {WHOLE}" in note for note in found["notes"])
        assert found["commands"] == ["confiture repair --done 1:3", "confiture repair --again 1:3"]
        assert "next, one of:" in shown
        assert "nothing to repair" not in shown

    def test_answered_with_done_the_run_goes_on_after_it(self, stopped, database):
        answer = stopped("repair", "--done", "01:3")
        run = stopped("run")

        assert answer.code == 0
        assert "line 3 of 1 fill is recorded as done" in answer.out
        assert run.code == 0, run.err
        assert count(database) == 3
        assert applied(database) == ["1"]

    def test_answered_with_again_the_run_sends_it_once_more(self, stopped, database):
        stopped.write(
            "1_fill.sql", HEAD + "CREATE TABLE pot ();\n" + BATCHES.format(end="NULL") + "SELECT 1;\n"
        )
        refused = stopped("run")

        answer = stopped("repair", "--again", "1:3")
        run = stopped("run")

        assert refused.code == 7
        assert answer.code == 0
        assert run.code == 0, run.err
        assert count(database) == 6

    @pytest.mark.parametrize("first", ["", "SET statement_timeout = '300ms';\n"])
    def test_a_procedure_that_has_committed_is_not_called_again(self, jam, database, first):
        database.execute(PROCEDURE.replace("PERFORM 1 / 0", "PERFORM pg_sleep(60)") if first else PROCEDURE)
        jam.write("1_fill.sql", f"{HEAD}{first}CALL fill();\n")

        failed, again = jam("run"), jam("run")

        assert (failed.code, again.code) == (4, 7)
        assert f"line {3 if first else 2} {WHOLE}" in last(failed)
        assert count(database) == 1

    def test_a_lock_timeout_inside_it_is_not_retried(self, jam, database, second):
        database.execute("CREATE TABLE pot ()")
        second.execute("BEGIN; LOCK TABLE pot")
        jam.write(
            "1_fill.sql", HEAD + "-- confiture: lock_timeout=100ms\n" + BATCHES.format(end="LOCK TABLE pot")
        )

        answer = jam("run")

        assert answer.code == 6
        assert count(database) == 3
        assert states(jam) == ["unfinished"]

    def test_a_block_that_cannot_commit_is_rolled_back_and_simply_run_again(self, jam, database):
        """The words are in a comment, a string and what EXECUTE runs, none of which can commit."""
        text = """\
            -- confiture: no-transaction
            DO $$ BEGIN -- commit
                UPDATE jam SET jars = jars + 1; EXECUTE 'SELECT ''call''';
                PERFORM 1 / {divisor};
            END $$;
            """
        jam.write("1_fill.sql", text.format(divisor=0))
        failed = jam("run")
        jam.write("1_fill.sql", text.format(divisor=1))

        run = jam("run")

        assert failed.code == 4
        assert "no statement is committed" in last(failed)
        assert "line" not in last(failed)
        assert run.code == 0, run.err
        assert count(database) == 1

    @pytest.mark.parametrize("sql", ["CALL fill()", "DO $$ BEGIN CALL fill(); COMMIT; END $$"])
    def test_code_that_failed_before_it_committed_has_changed_nothing(self, jam, database, sql):
        """PostgreSQL numbers a session's transactions: there was only the one that the error rolled back."""
        database.execute(PROCEDURE.replace("COMMIT; PERFORM 1 / 0", "PERFORM 1 / min(jars) FROM jam; COMMIT"))
        database.execute("INSERT INTO jam VALUES (-1)")
        jam.write("1_fill.sql", f"{HEAD}{sql};\n")

        failed = jam("run")
        state = states(jam)
        database.execute("DELETE FROM jam WHERE jars = -1")
        run = jam("run")

        assert failed.code == 4
        assert last(failed) == "stopped; of 1 fill, no statement is committed"
        assert state == ["pending"]
        assert run.code == 0, run.err
        assert count(database) == 1

    def test_the_last_line_says_how_many_transactions_it_has_ended(self, jam):
        jam.write("1_fill.sql", HEAD + BATCHES.format(end="PERFORM 1 / 0"))

        answer = jam("run")

        assert f"line 2 {WHOLE}: it had ended 3 transactions when it failed" in last(answer)

    def test_a_block_inside_a_block_may_commit(self, jam, database):
        inner = "DO $x$ BEGIN UPDATE jam SET jars = jars + 1; COMMIT; END $x$"
        jam.write("1_fill.sql", f"{HEAD}DO $$ BEGIN {inner}; PERFORM 1 / 0; END $$;\n")

        failed, again = jam("run"), jam("run")

        assert (failed.code, again.code) == (4, 7)
        assert count(database) == 1

    def test_an_index_that_failed_is_counted_as_left(self, jam, database):
        database.execute("INSERT INTO jam VALUES (0)")
        jam.write("1_fill.sql", HEAD + "CREATE UNIQUE INDEX CONCURRENTLY jam_jars ON jam (jars);\n")

        answer = jam("run")

        assert answer.code == 4
        assert "line 2 is done in part: it has left the invalid index public.jam_jars" in last(answer)
        assert last(answer).endswith("next: confiture repair 1")

    @pytest.mark.parametrize(
        "sql",
        ["VACUUM nothing", "CREATE DATABASE template1", "DROP INDEX CONCURRENTLY nothing", "DROP TABLESPACE nothing",
         "CREATE INDEX CONCURRENTLY ON nothing (i)", "ALTER SYSTEM SET work_mem = 'much'",
         "DROP SUBSCRIPTION nothing", "DROP DATABASE nothing", "REINDEX TABLE CONCURRENTLY nothing"],
    )  # fmt: skip
    def test_what_failed_at_once_needs_no_repair(self, jam, sql):
        """PostgreSQL refused it, so it has changed nothing, whatever the catalog holds of earlier times."""
        jam.write("1_fill.sql", f"{HEAD}{sql};\n")

        answer = jam("run")

        assert answer.code == 4
        assert "no statement is committed" in last(answer)
        assert "repair" not in last(answer)
        assert states(jam) == ["pending"]
        assert jam("repair").out == "nothing to repair\n"

    def test_hooks_that_are_committed_are_named(self, jam):
        jam.install(
            "lids",
            "from confiture import hookimpl\n\n\n@hookimpl\ndef before_ddl(conn):\n"
            "    conn.execute('CREATE TABLE lid ()')\n",
        )
        jam.write("1_fill.sql", HEAD + "SELECT 1 / 0;\n")

        answer = jam("run", "--plugins", "lids")

        assert "no statement is committed; the hooks of before_ddl are committed" in last(answer)

    def test_a_python_migration_counts_its_statements_too(self, jam, database):
        jam.write(
            "1_fill.py",
            "from confiture.models.migration import Migration\n\n\nclass Fill(Migration):\n"
            "    transactional = False\n\n    def up(self):\n        self.execute('CREATE TABLE pot ()')\n"
            f"        self.execute('''{BATCHES.format(end='PERFORM 1 / 0').strip()}''')\n",
        )

        answer = jam("run")

        assert answer.code == 4
        assert f"1 statement is committed (line 8); line 9 {WHOLE}" in last(answer)
        assert states(jam) == ["unfinished"]

    def test_what_a_python_migration_runs_on_its_connection_is_said_not_to_be_counted(self, jam, database):
        jam.write(
            "1_fill.py",
            "from confiture.models.migration import Migration\n\n\nclass Fill(Migration):\n"
            "    transactional = False\n\n    def up(self):\n"
            "        self.connection.execute('UPDATE jam SET jars = 1')\n        self.execute('SELECT 1 / 0')\n",
        )

        answer = jam("run")

        assert count(database) == 1
        assert "no statement of execute() is committed" in last(answer)
        assert "what it ran on self.connection itself is not counted; the next run starts over" in last(
            answer
        )

    def test_an_unfinished_down_is_answered_the_same_way(self, jam, database):
        down = BATCHES.format(end="PERFORM 1 / 0")
        jam.write("1_fill.sql", f"{HEAD}-- migrate:up\nSELECT 1;\n-- migrate:down\n{down}")
        assert jam("run").code == 0
        assert jam("down").code == 4

        again = jam("down")
        answer = jam("repair", "--done", "1:5")
        down = jam("down")

        assert again.code == 7
        assert "confiture down goes on after it" in answer.out
        assert down.code == 0, down.err
        assert count(database) == 3


def test_a_rehearsal_in_a_clone_does_not_count_its_own_transactions(project):
    project.write("1_fill.sql", f"{HEAD}DO $$ BEGIN PERFORM 1 / 0; COMMIT; END $$;\n")

    answer = project("dry-run", "--in", "clone", "--output", "json")

    assert answer.code == 4
    assert answer.json["migrations"][0]["error"]["message"] == "division by zero"
    assert "had ended" not in answer.json["migrations"][0]["reason"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_by_a_signal_it_is_not_sent_again_either(jam, database, number):
    jam.write("1_fill.sql", HEAD + BATCHES.format(end="PERFORM pg_sleep(600)"))
    run = jam.start("run")
    wait_until(lambda: count(database) == 3, run)
    pid = running(database, "pg_sleep")()
    stopped = ended(run, number)
    if number == signal.SIGKILL:
        meanwhile = jam("run")
        database.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
        assert f"pid {pid} still runs line 2" in meanwhile.err
        assert jam("repair", "--again", "1:2").code == 0
        assert "is unfinished" not in jam("repair").out
        return

    again = jam("run")

    assert stopped.code == (130 if number == signal.SIGINT else 143)
    assert f"line 2 {WHOLE}" in last(stopped)
    assert last(stopped).startswith("interrupted, stopped")
    assert again.code == 7
    assert count(database) == 3


def test_a_lost_connection_is_said_to_leave_it_open(jam, database):
    jam.write("1_fill.sql", HEAD + BATCHES.format(end="PERFORM pg_sleep(600)"))
    run = jam.start("run")
    wait_until(lambda: count(database) == 3, run)
    database.execute("SELECT pg_terminate_backend(%s, 60000)", [running(database, "pg_sleep")()])

    stopped = ended(run)
    again = jam("run")

    assert stopped.code == 4
    assert f"line 2 {WHOLE}: the connection was lost; next: confiture repair 1" in last(stopped)
    assert again.code == 7
    assert count(database) == 3


@pytest.mark.parametrize(
    "make, sql, left",
    [
        ("CREATE TABLE big (note text); CREATE INDEX note ON big (note)", "TABLE CONCURRENTLY big",
         ["pg_toast.pg_toast_[0-9]+_index_ccnew", "public.note_ccnew"]),
        ("CREATE TABLE big (note text); CREATE INDEX note ON big (note)", "SCHEMA CONCURRENTLY public",
         [r"public.note_ccnew"]),
        ("CREATE TABLE big (note text) PARTITION BY LIST (note); CREATE TABLE part PARTITION OF big DEFAULT;"
         "CREATE INDEX note ON big (note)", "INDEX CONCURRENTLY note", ["public.part_note_idx_ccnew"]),
    ],
)  # fmt: skip
def test_what_an_interrupted_reindex_leaves_is_found_wherever_it_is(
    project, database, second, make, sql, left
):
    for each in make.split(";"):
        database.execute(each)
    project.write("1_jam.sql", f"{HEAD}REINDEX {sql};\nCREATE TABLE lid ();\n")
    second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    run = project.start("run")
    wait_until(lambda: invalid(database), run)
    stopped = ended(run, signal.SIGINT)
    second.execute("COMMIT")

    again = project("run")
    (shown,) = project("repair", "--output", "json").json["unfinished"]
    *drops, go_on = shown["commands"]
    for command in drops:
        database.execute(command)
    finished = project(*go_on.split()[1:])

    assert stopped.code == 130
    assert re.search(
        "line 2 is done in part: it has left the invalid index(es)? (pg_toast|public)", last(stopped)
    )
    assert again.code == 7
    names = [found["index"] for found in shown["invalid_indexes"]]
    assert all(any(re.fullmatch(pattern, name) for name in names) for pattern in left), names
    assert finished.code == 0, finished.err
    assert invalid(database) == []


def invalid(database):
    return database.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid").fetchall()


@pytest.mark.parametrize("sql", ["CREATE INDEX CONCURRENTLY ON jam (jars)", "REINDEX TABLE CONCURRENTLY jam"])
def test_an_invalid_index_that_was_there_before_is_not_called_left(jam, database, sql):
    for name in ("older", "older_ccnew"):
        database.execute(f"CREATE INDEX {name} ON jam (jars)")
    database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid::regclass::text ~ '^older'")
    jam.write("1_jam.sql", f"{HEAD}{sql};\nSELECT 1 / 0;\n")
    failed, again = jam("run"), jam("run")

    shown = jam("repair").out

    assert (failed.code, again.code) == (4, 4), again.err
    assert "left" not in failed.out + again.err + shown
    assert "    confiture run" in shown.splitlines()


SLOW_RECORD = """\
CREATE FUNCTION confiture.slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(600);
    RETURN NULL;
EXCEPTION WHEN query_canceled THEN
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON confiture.progress DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION confiture.slow();
"""


@pytest.mark.parametrize("sql", ["CALL fill()", "CREATE INDEX CONCURRENTLY i ON jam (jars)", "VACUUM jam"])
def test_a_signal_before_the_statement_is_sent_leaves_nothing_in_doubt(jam, database, sql):
    """It comes while the record of the begin is committed, and the commit is not cancelled by it."""
    database.execute(PROCEDURE.replace("PERFORM 1 / 0", "NULL"))
    jam.write("1_fill.sql", f"{HEAD}{sql};\n")
    Ledger("confiture").create(database)
    database.execute(SLOW_RECORD)
    run = jam.start("run")
    wait_until(running(database, "COMMIT"), run)

    stopped = ended(run, signal.SIGINT)

    assert stopped.code == 130
    assert last(stopped).endswith("no statement is committed")
    assert states(jam) == ["pending"]
    assert jam("repair").out == "nothing to repair\n"
    assert count(database) == 0


class TestKilledBeforeTheRecord:
    """The statement has ended, and the run was killed before it could record that."""

    def finish(self, project, database, sql):
        """Do what the statement does, leave the record of a killed run, and run again."""
        project.write("1_jam.sql", f"{HEAD}{sql};\nCREATE TABLE lid ();\n")
        begin(project, database, "1", 0, sql)
        shown = project("repair", "--output", "json").json["unfinished"][0]
        return shown, project("run")

    @pytest.mark.parametrize(
        "before, sql",
        [
            (["CREATE INDEX i ON jam (jars)", "DROP INDEX i"], "DROP INDEX CONCURRENTLY i"),
            (["CREATE INDEX i ON jam (jars)"], 'CREATE INDEX CONCURRENTLY i ON "jam" (jars)'),
            (
                ["CREATE TABLE pt (i int) PARTITION BY LIST (i)", "CREATE TABLE p1 PARTITION OF pt FOR VALUES IN (1)",
                 "ALTER TABLE pt DETACH PARTITION p1"],
                "ALTER TABLE pt DETACH PARTITION public.p1 CONCURRENTLY",
            ),
            ([], "DROP DATABASE gone"),
            ([], "DROP TABLESPACE gone"),
            ([], "DROP SUBSCRIPTION gone"),
            ([], "CREATE DATABASE template1"),
            ([], "CREATE TABLESPACE pg_default LOCATION '/nowhere'"),
        ],
    )  # fmt: skip
    def test_its_effect_is_found_and_the_run_goes_on_after_it(self, jam, database, before, sql):
        for each in before:
            database.execute(each)

        shown, run = self.finish(jam, database, sql)

        assert any("line 2 was begun and has had its effect" in note for note in shown["notes"])
        assert shown["commands"] == ["confiture run"]
        assert run.code == 0, run.err
        assert exists(database, "lid")
        assert applied(database) == ["1"]

    @pytest.mark.parametrize(
        "before, sql",
        [
            (["CREATE INDEX i ON jam (jars)"], "DROP INDEX CONCURRENTLY i"),
            ([], "CREATE INDEX CONCURRENTLY i ON jam (jars)"),
            ([], "CREATE INDEX CONCURRENTLY ON jam (jars)"),
            ([], "VACUUM jam"),
            (["CREATE INDEX i ON jam (jars)"], "REINDEX INDEX CONCURRENTLY i"),
            (["CREATE INDEX i ON jam (jars)", "CLUSTER jam USING i"], "CLUSTER"),
            ([], "DISCARD ALL"),
            (
                ["CREATE TABLE pt (i int) PARTITION BY LIST (i)", "CREATE TABLE p1 PARTITION OF pt FOR VALUES IN (1)"],
                "ALTER TABLE pt DETACH PARTITION p1 CONCURRENTLY",
            ),
        ],
    )  # fmt: skip
    def test_what_has_had_no_effect_or_may_be_repeated_is_sent_again(self, jam, database, before, sql):
        for each in before:
            database.execute(each)

        shown, run = self.finish(jam, database, sql)

        assert "the next run sends line 2 again" in shown["notes"]
        assert shown["commands"] == ["confiture run"]
        assert run.code == 0, run.err
        assert applied(database) == ["1"]

    def test_a_new_enum_value_is_committed_with_its_record(self, jam, database):
        """It may run in a transaction, so that there is no moment between the two."""
        database.execute("CREATE TYPE fruit AS ENUM ('fig')")
        jam.write(
            "1_jam.sql", f"{HEAD}ALTER TYPE fruit ADD VALUE 'plum';\nSELECT 'plum'::fruit;\nSELECT 1 / 0;\n"
        )

        failed, again = jam("run"), jam("run")

        assert (failed.code, again.code) == (4, 4)
        assert "2 of 3 statements are committed (lines 2, 3)" in last(again)

    def test_where_the_server_chose_the_name_a_person_is_asked(self, jam, database):
        database.execute("CREATE INDEX ON jam (jars)")

        shown, run = self.finish(jam, database, "CREATE INDEX CONCURRENTLY ON jam (jars)")

        assert shown["commands"] == ["confiture repair --done 1:2", "confiture repair --again 1:2"]
        assert run.code == 7

    def test_a_detach_that_is_pending_is_finalized_first(self, jam, database, second):
        database.execute("CREATE TABLE pt (i int) PARTITION BY LIST (i)")
        database.execute("CREATE TABLE p1 PARTITION OF pt FOR VALUES IN (1)")
        second.execute("BEGIN; SELECT * FROM pt")
        sql = "ALTER TABLE pt DETACH PARTITION p1 CONCURRENTLY"
        jam.write("1_jam.sql", f"{HEAD}{sql};\nCREATE TABLE lid ();\n")

        jam.configure("wait_concurrently = '200ms'\n")
        failed = jam("run")
        second.execute("COMMIT")
        again = jam("run")
        (shown,) = jam("repair", "--output", "json").json["unfinished"]
        database.execute(shown["commands"][0])
        run = jam(*shown["commands"][1].split()[1:])

        assert failed.code == 6
        assert "partition p1 is detached only half" in last(failed)
        assert again.code == 7
        assert shown["commands"] == ["ALTER TABLE pt DETACH PARTITION p1 FINALIZE;", "confiture run"]
        assert run.code == 0, run.err
        assert exists(database, "lid")

    def test_a_statement_that_moved_is_not_sent_at_its_new_place(self, stopped, database):
        text = (stopped.migrations / "1_fill.sql").read_text()
        stopped.write("1_fill.sql", text.replace("DO $$", "SELECT 2;\nDO $$"))

        answer = stopped("run")

        assert answer.code == 7
        assert "the statement that was begun here stands at line 4 now" in answer.err
        assert count(database) == 3

    def test_what_the_finished_part_has_set_holds_for_the_rest(self, jam, database):
        """Also for the look at the catalog: another table's index has the same name."""
        database.execute("CREATE SCHEMA app; CREATE TABLE app.jam (jars int); CREATE INDEX i ON jam (jars)")
        head = f"{HEAD}SET search_path = app;\n"
        jam.write("1_jam.sql", f"{head}SELECT 1 / 0;\n")
        assert jam("run").code == 4
        sql = "CREATE INDEX CONCURRENTLY i ON jam (jars)"
        jam.write("1_jam.sql", f"{head}{sql};\nCREATE TABLE lid ();\n")
        begin(jam, database, "1", 1, sql)

        rehearsal = jam("dry-run", "--output", "json").json["migrations"][0]
        run = jam("run")

        assert rehearsal["outcome"] == "not_rehearsed"
        assert run.code == 0, run.err
        assert exists(database, "app.i")
        assert exists(database, "app.lid")


class TestAnswers:
    @pytest.mark.parametrize(
        "place, words",
        [
            ("1", "'1' is not a version and a line"),
            ("1:x", "'1:x' is not a version and a line"),
            ("1:2", "line 2 of 1 fill is no statement that was begun and not recorded as done; line 3 was"),
            ("9:3", "version '9' is neither in the ledger nor in the migrations folder"),
            ("2:1", "version 2 is not unfinished"),
        ],
    )
    @pytest.mark.parametrize("flag", ["--done", "--again"])
    def test_a_place_where_nothing_was_begun_is_refused_and_nothing_changes(
        self, stopped, flag, place, words
    ):
        stopped.write("2_next.sql", "SELECT 1;")

        answer = stopped("repair", flag, place)

        assert answer.code == 2
        assert words in answer.err
        assert stopped("run").code == 7

    def test_only_one_of_them_can_be_given(self, stopped):
        answer = stopped("repair", "--done", "1:3", "--again", "1:3")

        assert answer.code == 2


class TestRehearsalAndPlan:
    @pytest.fixture
    def half(self, jam):
        """Two of three statements are done, and the third is mended."""
        text = HEAD + "CREATE TABLE pot ();\nINSERT INTO jam VALUES (1);\n{third};\n"
        jam.write("1_fill.sql", text.format(third="SELECT 1 / 0"))
        assert jam("run").code == 4
        jam.write("1_fill.sql", text.format(third="CREATE TABLE lid ()"))
        return jam

    def test_plan_lists_what_run_would_send(self, half):
        shown = half("plan", "--output", "json").json

        assert "CREATE TABLE pot" not in half("plan").out
        assert [sql["line"] for sql in shown["migrations"][0]["statements"]] == [4]

    @pytest.mark.parametrize("place", ["transaction", pytest.param("clone", marks=pytest.mark.slow),
                                       pytest.param("embedded", marks=pytest.mark.slow)])  # fmt: skip
    def test_a_rehearsal_starts_where_run_would(self, half, database, place):
        database.close()

        answer = half("dry-run", "--in", place, "--output", "json")

        assert answer.code == 0, answer.err
        (migration,) = answer.json["migrations"]
        assert [statement["line"] for statement in migration["statements"]] == [4]

    @pytest.mark.parametrize(
        "words",
        [("plan",), ("dry-run",), pytest.param(("dry-run", "--in", "clone"), marks=pytest.mark.slow),
         pytest.param(("dry-run", "--in", "embedded"), marks=pytest.mark.slow)],
    )  # fmt: skip
    def test_they_refuse_where_run_would(self, stopped, words):
        answer = stopped(*words)

        assert answer.code == 7
        assert "confiture repair --again 1:3" in answer.err

    @pytest.mark.parametrize("words", [("plan",), ("dry-run",), ("dry-run", "--in", "clone")])
    def test_they_refuse_while_an_invalid_index_is_left(self, jam, database, words):
        database.execute("INSERT INTO jam VALUES (0)")
        jam.write("1_fill.sql", HEAD + "CREATE UNIQUE INDEX CONCURRENTLY jam_jars ON jam (jars);\n")
        assert jam("run").code == 4

        answer = jam(*words)

        assert answer.code == 7
        assert "public.jam_jars" in answer.err

    def test_a_statement_that_no_transaction_allows_and_that_is_done_hides_nothing(self, jam, database):
        """Only what is left decides whether the migration can be rehearsed in a transaction."""
        text = HEAD + "CREATE INDEX CONCURRENTLY i ON jam (jars);\n{second};\n"
        jam.write("1_fill.sql", text.format(second="SELECT 1 / 0"))
        assert jam("run").code == 4
        jam.write("1_fill.sql", text.format(second="CREATE TABLE lid ()"))

        (migration,) = jam("dry-run", "--output", "json").json["migrations"]

        assert migration["outcome"] == "rehearsed"


@pytest.mark.parametrize("place", ["transaction", "clone"])
def test_without_its_directive_nothing_is_sent_again(jam, place):
    """In one transaction all of the file would be sent, what is committed included."""
    text = "CREATE TABLE pot ();\nCREATE INDEX i ON {};\nCREATE TABLE lid ();\n"
    jam.write("1_it.sql", HEAD + text.format("nothing (n)"))
    assert jam("run").code == 4
    jam.write("1_it.sql", text.format("jam (jars)"))

    answers = [jam(*words) for words in (("plan",), ("dry-run", "--in", place), ("run",))]

    for answer in answers:
        assert answer.code == 7
        assert "its file is not no-transaction any more" in answer.err
    assert "put that line back and run again" in jam("repair").out.replace("\n", " ")
    jam.write("1_it.sql", HEAD + text.format("jam (jars)"))
    assert jam("run").code == 0
