"""Raw transaction control: always detected, always fatal, and it is said what may be committed."""

from __future__ import annotations

import pytest

from confiture.core import Hook, HookPhase, Migrator
from confiture.hooks.implementation import HookFatal
from confiture.models.migration import Migration
from tests.project import Project as CommandProject

pytestmark = pytest.mark.slow

STATEMENTS = [
    "COMMIT",
    "ROLLBACK",
    "COMMIT; BEGIN",
    "ROLLBACK; BEGIN",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "END",
    "ABORT",
]
# Each statement in one of the modes, and each mode with half of the statements.
RUN_OR_REHEARSE = pytest.mark.parametrize(
    "statement, dry_run",
    [
        pytest.param(statement, dry_run, id=f"{statement}-{'dry-run' if dry_run else 'run'}")
        for statement, dry_run in zip(
            STATEMENTS, [False, True, True, False, False, True, True, False], strict=True
        )
    ],
)
CONTINUE = {"on_failure": "continue"}
UP = """\
from confiture.models.migration import Migration


class Ender(Migration):
    def up(self):
        self.execute("INSERT INTO jam VALUES ('fig')")
        {how}.execute({statement!r})
"""


@RUN_OR_REHEARSE
def test_it_is_fatal_whatever_the_policy(project, database, statement, dry_run):
    """Nothing of what would have come after it runs: no hook, no statement, no migration."""
    seen = []
    project.write("1_a.sql", "CREATE TABLE stall (name text);")
    project.write("2_b.sql", "CREATE TABLE shelf (name text);")
    project.plugin("a", before_ddl=lambda conn: conn.execute(statement) and None, config=CONTINUE)
    project.plugin(
        "b", before_ddl=lambda conn: seen.append("hook"), cleanup=lambda conn: seen.append("cleanup")
    )
    report = project.run(dry_run=dry_run)

    assert report.exit_code == 5
    assert [migration.outcome for migration in report.migrations] == ["failed", "pending"]
    assert seen == []
    assert database.execute("SELECT to_regclass('stall'), to_regclass('shelf')").fetchone() == (None, None)
    assert database.execute("SELECT to_regclass('confiture.ledger') IS NULL").fetchone() == (dry_run,)


@RUN_OR_REHEARSE
@pytest.mark.parametrize("how", ["self", "self.connection"])
def test_from_up_it_ends_with_4_and_no_hook_runs_after_it(project, database, jam, statement, dry_run, how):
    seen = []
    project.write("1_a.py", UP.format(how=how, statement=statement))
    project.plugin("a", before_ddl=lambda conn: None, after_ddl=lambda conn: seen.append("hook"))
    report = project.run(dry_run=dry_run)

    (migration,) = report.migrations
    assert report.exit_code == 4
    assert "migration 1 a ended its transaction" in migration.error.message
    assert "may be committed" in migration.error.message
    assert seen == []
    if not dry_run:
        assert database.execute("SELECT * FROM confiture.ledger").fetchall() == []


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK; BEGIN", "COMMIT AND CHAIN"])
def test_from_down_it_ends_with_4(project, database, jam, statement):
    project.write(
        "1_a.py",
        "from confiture.models.migration import Migration\n\n\nclass Ender(Migration):\n"
        f"    def up(self):\n        pass\n\n    def down(self):\n        self.execute({statement!r})\n",
    )
    assert project.run().exit_code == 0

    report = project.down()

    assert report.exit_code == 4
    assert "may be committed" in report.migrations[0].error.message
    assert len(database.execute("SELECT * FROM confiture.ledger").fetchall()) == 1


def test_the_message_names_the_hooks_before_it_and_in_a_rehearsal_the_migrations_before_it(project, jam):
    def first(conn):
        conn.execute("INSERT INTO jam VALUES ('fig')")

    def ender(conn, context):
        if context.migration_version == "2":
            conn.execute("COMMIT; BEGIN")

    project.write("1_a.sql", "SELECT 1;")
    project.write("2_b.sql", "SELECT 1;")
    project.plugin("a", before_ddl=first)
    project.plugin("b", after_ddl=ender)
    report = project.rehearse()

    message = report.migrations[1].error.message
    assert report.exit_code == 5
    assert "migration 2 b" in message
    assert "first" in message
    assert "ender" in message
    assert "migration 1 a" in message
    # It says so because it is so.
    assert jam() == ["fig", "fig"]


@pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry-run"])
def test_from_up_the_message_names_hooks_and_migrations_too(project, jam, dry_run):
    def first(conn):
        conn.execute("INSERT INTO jam VALUES ('plum')")

    project.write("1_a.sql", "SELECT 1;")
    project.write("2_b.py", UP.format(how="self", statement="COMMIT"))
    project.plugin("a", before_ddl=first)
    report = project.run(dry_run=dry_run)

    message = report.migrations[1].error.message
    assert report.exit_code == 4
    assert "migration 2 b" in message
    assert "first" in message
    # In a run the first one is committed and recorded, as it should be.
    assert ("migration 1 a" in message) is dry_run
    assert jam() == ["fig", "plum", "plum"]


def test_a_hook_that_fails_after_up_committed_does_not_hide_it(project, jam):
    def burn(conn):
        raise ValueError("burnt")

    project.write("1_a.py", UP.format(how="self", statement="COMMIT; BEGIN"))
    project.plugin("a", after_ddl=burn)
    report = project.run()

    assert report.exit_code == 4
    assert "ended its transaction" in report.migrations[0].error.message


def test_from_verify_it_ends_with_4(project, jam):
    project.write(
        "1_a.py",
        "from confiture.models.migration import Migration\n\n\nclass Ender(Migration):\n"
        "    def up(self):\n        pass\n\n"
        "    def verify(self):\n        self.execute('COMMIT; BEGIN')\n",
    )
    report = project.run()

    assert report.exit_code == 4
    assert "ended its transaction" in report.migrations[0].error.message


def test_on_the_command_line_it_is_said_without_a_traceback(project, tmp_path, database_url, jam):
    project.write("1_a.py", UP.format(how="self", statement="COMMIT"))

    answer = CommandProject(tmp_path, database_url)("run")

    assert answer.code == 4
    assert "may be committed" in " ".join((answer.out + answer.err).split())
    assert "Traceback" not in answer.out + answer.err


class Ender(Hook):
    phase = HookPhase.AFTER_DDL

    def execute(self, conn, context):
        conn.execute("COMMIT; BEGIN")


class Ended(Migration):
    version, name = "1", "ended"
    after_ddl_hooks = (Ender(),)

    def up(self) -> None:
        self.execute("INSERT INTO jam VALUES ('fig')")


def test_in_a_callers_transaction_the_exception_says_that_his_work_may_be_committed(database, jam):
    with pytest.raises(HookFatal) as caught, database.transaction():
        Migrator(connection=database).apply(Ended(connection=database))

    notes = " ".join(caught.value.__notes__)
    assert caught.value.hook_name == "Ender"
    assert "migration 1 ended" in notes
    assert "the caller's transaction" in notes
