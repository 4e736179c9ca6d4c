"""``down``: what was applied last is undone, newest first, through the same phases."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from confiture import HookContext
from tests.project import PHASES, exists, only, plugin

pytestmark = pytest.mark.slow


@pytest.fixture
def three(project):
    """Three migrations, applied."""
    for number, name in ((1, "jam"), (2, "pot"), (10, "lid")):
        project.write(f"{number}_{name}.up.sql", f"CREATE TABLE {name} ();")
        project.write(f"{number}_{name}.down.sql", f"DROP TABLE {name};")
    assert project.run().exit_code == 0
    return project


def test_plain_down_undoes_the_last_one(three, database):
    done = three("down")

    assert done.code == 0, done.err
    assert not exists(database, "lid")
    assert three.states() == {"1": "applied", "2": "applied", "10": "pending"}


def test_steps_says_how_many(three, database):
    report = three.down(steps=2)

    assert [(migration.version, migration.outcome) for migration in report.migrations] == [
        ("10", "reverted"),
        ("2", "reverted"),
    ]
    assert three.states() == {"1": "applied", "2": "pending", "10": "pending"}


def test_to_leaves_that_version_applied(three):
    report = three.down(to="001")

    assert report.exit_code == 0
    assert three.states() == {"1": "applied", "2": "pending", "10": "pending"}


def test_to_the_last_one_applied_has_nothing_to_do(three):
    done = three("down", "--to", "10")

    assert done.code == 0
    assert set(three.states().values()) == {"applied"}


def test_to_a_version_that_is_not_applied_is_refused_with_2(three):
    three.write("11_spoon.sql", "CREATE TABLE spoon ();")

    done = three("down", "--to", "11")

    assert done.code == 2
    assert "confiture status" in done.err
    assert set(three.states().values()) == {"applied", "pending"}


def test_nothing_applied_is_nothing_to_do(project):
    project.write("1_jam.sql", "CREATE TABLE jam ();")

    done = project("down")

    assert done.code == 0, done.err


def test_what_was_undone_can_be_applied_again(three, database):
    three.down(steps=3)

    report = three.run()

    assert [migration.outcome for migration in report.migrations] == ["applied"] * 3
    assert exists(database, "jam")


def test_hooks_run_in_every_phase_with_direction_backward(three, database):
    seen = []

    def note(phase: str) -> Callable[..., None]:
        def hook(context: HookContext) -> None:
            seen.append((phase, context.direction, context.migration_version, context.migration_name))

        return hook

    report = three.down(plugin(**{phase: note(phase) for phase in PHASES}))

    assert report.exit_code == 0
    assert seen == [(phase, "backward", "10", "lid") for phase in PHASES]


def test_a_python_migrations_own_hooks_run_on_the_way_back_too(project, database):
    database.execute("CREATE TABLE seen (direction text)")
    project.write(
        "1_jam.py",
        """
        from confiture.core import Hook, HookPhase
        from confiture.models.migration import Migration

        class Note(Hook):
            phase = HookPhase.AFTER_DDL

            def execute(self, conn, context):
                conn.execute("INSERT INTO seen VALUES (%s)", (context.direction,))

        class Jam(Migration):
            after_ddl_hooks = [Note()]

            def up(self):
                self.execute("CREATE TABLE jam ()")

            def down(self):
                self.execute("DROP TABLE jam")

            def verify(self):
                assert self.execute("SELECT to_regclass('jam') IS NOT NULL").fetchone()[0]
        """,
    )

    codes = [project.run().exit_code, project.down().exit_code]

    assert codes == [0, 0]
    assert database.execute("SELECT direction FROM seen").fetchall() == [("forward",), ("backward",)]


def test_a_failed_down_undoes_nothing(three, database):
    three.write("10_lid.down.sql", "DROP TABLE lid;\nSELECT 1/0;\n")

    report = three.down(steps=2)

    assert report.exit_code == 4
    assert [migration.outcome for migration in report.migrations] == ["failed", "pending"]
    assert (report.migrations[0].error.line, report.migrations[0].error.phase) == (2, "down")
    assert exists(database, "lid")
    assert set(three.states().values()) == {"applied"}


def test_a_failing_hook_keeps_it_applied_and_on_error_is_told_backward(three, database):
    seen = []

    def cleanup():
        raise ValueError("burnt")

    report = three.down(plugin(cleanup=cleanup, on_error=lambda context: seen.append(context.direction)))

    assert report.exit_code == 5
    assert seen == ["backward"]
    assert exists(database, "lid")


@pytest.mark.parametrize(
    "name, text",
    [
        ("11_spoon.sql", "CREATE TABLE spoon ();"),
        ("11_spoon.up.sql", "CREATE TABLE spoon ();"),
        (
            "11_spoon.py",
            """
            from confiture.models.migration import Migration

            class Spoon(Migration):
                def up(self):
                    self.execute("CREATE TABLE spoon ()")
            """,
        ),
    ],
)
def test_no_down_part_is_refused_with_4_before_anything_is_undone(three, database, name, text):
    three.write(name, text)
    three.run()
    three.write("12_fork.up.sql", "CREATE TABLE fork ();")
    three.write("12_fork.down.sql", "DROP TABLE fork;")
    three.run()

    done = three("down", "--steps", "2")

    assert done.code == 4
    assert "11 spoon has no down part" in done.err
    assert "hint: write" in done.err
    assert exists(database, "spoon")
    assert exists(database, "fork")


@pytest.mark.parametrize("state", ["changed", "missing"])
def test_a_changed_or_missing_file_is_refused_with_7(three, database, state):
    if state == "missing":
        (three.migrations / "10_lid.up.sql").unlink()
        (three.migrations / "10_lid.down.sql").unlink()
    else:
        three.write("10_lid.up.sql", "CREATE TABLE lid (); -- changed")

    done = three("down")

    assert done.code == 7
    assert state in done.err
    assert exists(database, "lid")


def test_an_unfinished_no_transaction_down_is_resumed(project, database):
    project.write("1_jam.up.sql", "CREATE TABLE jam (); CREATE TABLE pot ();")
    down = "-- confiture: no-transaction\nDROP TABLE jam;\n{}DROP TABLE pot;\n"
    project.write("1_jam.down.sql", down.format("SELECT 1/0;\n"))
    project.run()

    first = project.down()
    between = project("run")
    project.write("1_jam.down.sql", down.format(""))
    second = project.down()

    assert (first.exit_code, between.code, second.exit_code) == (4, 7, 0)
    assert "confiture down" in between.err
    assert [statement.sql for statement in only(second).statements] == ["DROP TABLE pot"]
    assert project.states() == {"1": "pending"}


def test_the_ledger_row_goes_in_the_transaction_of_the_down(three, database):
    database.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
        CREATE TRIGGER kept BEFORE DELETE ON confiture.ledger FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )

    report = three.down()

    assert report.exit_code == 4
    assert "not this one" in only(report).error.message
    assert exists(database, "lid")
