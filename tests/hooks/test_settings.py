"""Settings: put back when the hook's savepoint ends, and said; ``set_local`` keeps them a migration long."""

from __future__ import annotations

import os
from typing import Any

import psycopg
import pytest
from psycopg import sql

from confiture import hookimpl

pytestmark = pytest.mark.slow

SETTINGS = [
    ("search_path", "pg_temp"),
    ("lock_timeout", "77ms"),
    ("statement_timeout", "77s"),
    ("idle_in_transaction_session_timeout", "77s"),
    ("TimeZone", "Asia/Tokyo"),
    ("DateStyle", "SQL, DMY"),
    ("session_replication_role", "replica"),
    ("row_security", "off"),
    ("client_min_messages", "error"),
    ("check_function_bodies", "off"),
    ("default_tablespace", "pg_default"),
    # Last: this role may not set what stands before it.
    ("role", "pg_monitor"),
]
HOW = pytest.mark.parametrize("how", ["SET", "SET LOCAL"])
MODES = pytest.mark.parametrize("mode", ["run", "dry-run", "down"])
DIRECTIVES = pytest.mark.parametrize(
    "directive", ["", "-- confiture: no-transaction\n"], ids=["transactional", "no-transaction"]
)


def value_of(conn: Any, name: str) -> Any:
    ((value,),) = conn.execute("SELECT current_setting(%s)", (name,)).fetchall()
    return value


@pytest.fixture
def two(project):
    """Two migrations that only say where they are; returns how to run them."""

    def play(mode, directive=""):
        for name in ("1_a", "2_b"):
            project.write(f"{name}.up.sql", f"{directive}SELECT 1;")
            project.write(f"{name}.down.sql", f"{directive}SELECT 1;")
        if mode == "down":
            used, project.plugins = project.plugins, []
            assert project.run().exit_code == 0
            project.plugins = used
            return project.down(steps=2)
        return project.rehearse() if mode == "dry-run" else project.run()

    return play


@pytest.fixture
def baker(database):
    """A role of the cluster that may do nothing."""
    name = f"baker_{os.getpid()}"
    database.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    yield name
    database.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


@HOW
@MODES
@DIRECTIVES
def test_a_guarded_setting_is_put_back_and_reported(project, two, how, mode, directive):
    """Over two migrations: what a hook set in the first is in force nowhere in the second."""
    seen = []

    def change(conn, context):
        seen.append([value_of(conn, name) for name, _ in SETTINGS])
        for name, value in SETTINGS:
            # A quoted list would be one unknown style.
            conn.execute(f"{how} {name} = {value}" if name == "DateStyle" else f"{how} {name} = '{value}'")

    project.plugin("changer", before_ddl=change, after_ddl=change)
    report = two(mode, directive)

    assert report.exit_code == 0
    assert len(seen) == 4
    assert seen[1:] == seen[:1] * 3
    for migration in report.migrations:
        assert len(migration.warnings) == 2 * len(SETTINGS)
        for name, value in SETTINGS:
            told = [warning for warning in migration.warnings if f"changed {name} to '{value}'" in warning]
            assert len(told) == 2, name
            assert all("plugin 'changer'" in warning for warning in told)


@HOW
@MODES
def test_the_session_authorization_is_put_back_and_reported(project, two, baker, how, mode):
    seen = []

    def change(conn, context):
        seen.append(conn.execute("SELECT session_user, current_user").fetchone())
        conn.execute(f"{how} SESSION AUTHORIZATION {baker}")

    project.plugin("changer", before_ddl=change, after_ddl=change)
    report = two(mode)

    assert report.exit_code == 0
    assert len(set(seen)) == 1
    assert all(len(migration.warnings) == 2 for migration in report.migrations)
    assert all("session_authorization" in migration.warnings[0] for migration in report.migrations)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_plain_set_to_the_value_that_the_migration_has_does_not_reach_the_next_one(project, dry_run):
    """The guard sees no difference; without the reset at the end the first one's timeout would last."""
    seen = []
    project.write("1_a.sql", "-- confiture: statement_timeout=7s\nSELECT 1;")
    project.write("2_b.sql", "SELECT 1;")
    project.plugin(
        "changer",
        after_ddl=lambda conn, context: (
            conn.execute("SET statement_timeout = '7s'; SET work_mem = '77MB'") and None
        ),
        before_ddl=lambda conn, context: seen.append(
            (value_of(conn, "statement_timeout"), value_of(conn, "work_mem"))
        ),
    )

    report = project.run(dry_run=dry_run)

    assert report.exit_code == 0
    assert [timeout for timeout, _ in seen] == ["7s", "0"]
    assert len({memory for _, memory in seen}) == 1


@DIRECTIVES
@pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry-run"])
def test_a_statement_timeout_of_1_ms_does_not_cancel_what_comes_after(project, jam, directive, dry_run):
    def hurry(conn):
        conn.execute("INSERT INTO jam VALUES ('fig')")
        conn.execute("SET statement_timeout = 1")

    project.write("1_a.sql", f"{directive}SELECT 1;")
    project.plugin("hurried", after_ddl=hurry)
    project.plugin("slow", after_ddl=lambda conn: conn.execute("SELECT pg_sleep(0.05)") and None)

    # A busy server may cancel within that millisecond even the statement that puts it back: then the
    # hook has failed, and nothing is applied.
    for _ in range(20):
        report = project.run(dry_run=dry_run)
        if report.exit_code == 0:
            break
        assert "canceling statement" in report.migrations[0].error.message
        assert jam() == []

    (migration,) = report.migrations
    assert [hook.outcome for hook in migration.hooks] == ["kept", "kept"]
    assert "changed statement_timeout to '1ms'" in migration.warnings[0]
    assert jam() == ([] if dry_run else ["fig"])


@MODES
@DIRECTIVES
@pytest.mark.parametrize(
    "settings",
    # The role by itself: between statements without a transaction it may not set the others again.
    [dict([("work_mem", "77MB"), *SETTINGS[:-1]]), dict(SETTINGS[-1:])],
    ids=["all but the role", "the role"],
)
def test_set_local_holds_until_the_migrations_end_and_no_longer(project, two, mode, directive, settings):
    seen = []

    def values(conn):
        return {name: value_of(conn, name) for name in settings}

    def begin(conn, context):
        seen.append(values(conn))
        for name, value in settings.items():
            context.set_local(name, value)

    def look(conn, context):
        seen.append(values(conn))

    project.plugin("setter", before_validation=begin, before_ddl=look, after_ddl=look, cleanup=look)
    report = two(mode, directive)

    before = seen[0]
    assert report.exit_code == 0
    assert [name for name in settings if before[name] == settings[name]] == []
    assert seen == [before, settings, settings, settings] * 2
    assert [migration.warnings for migration in report.migrations] == [(), ()]


def test_set_local_is_in_force_for_up_and_for_the_hooks_after_it_in_the_same_phase(project, database):
    database.execute("CREATE TABLE seen (moment text, timeout text)")
    note = "INSERT INTO seen VALUES ('{}', current_setting('lock_timeout'))"
    project.write("1_a.sql", note.format("up") + ";")
    project.plugin("setter", before_ddl=lambda context: context.set_local("lock_timeout", "3s"))
    project.plugin("next", before_ddl=lambda conn: conn.execute(note.format("next")) and None)

    project.run()

    assert database.execute("SELECT * FROM seen").fetchall() == [("next", "3s"), ("up", "3s")]


@DIRECTIVES
def test_a_plain_set_over_a_set_local_is_put_back_to_the_local_value(project, two, directive):
    seen = []
    project.plugin(
        "setter",
        before_ddl=lambda context: context.set_local("lock_timeout", "3s"),
        after_validation=lambda conn: seen.append(value_of(conn, "lock_timeout")),
        before_validation=lambda conn: seen.append(value_of(conn, "lock_timeout")),
    )
    project.plugin("changer", after_ddl=lambda conn: conn.execute("SET lock_timeout = '9s'") and None)

    report = two("run", directive)

    assert report.exit_code == 0
    assert seen == ["5s", "3s"] * 2
    assert all(len(migration.warnings) == 1 for migration in report.migrations)
    assert "changed lock_timeout to '9s'; restored to '3s'" in report.migrations[0].warnings[0]


def test_a_set_local_of_an_undone_hook_is_undone(project):
    seen = []

    def set_and_undo(context):
        context.set_local("lock_timeout", "3s")
        raise psycopg.Rollback

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("setter", before_ddl=set_and_undo)
    project.plugin("looker", before_ddl=lambda conn: seen.append(value_of(conn, "lock_timeout")))
    report = project.run()

    assert seen == ["5s"]
    assert report.migrations[0].warnings == ()


def test_set_local_of_a_wrapper_holds_for_the_hooks_inside_it_and_after(project, two):
    seen = []

    @hookimpl(wrapper=True)
    def wrap(context):
        context.set_local("lock_timeout", "3s")
        return (yield)

    project.plugin("wrapper", before_ddl=wrap)
    project.plugin(
        "looker",
        before_ddl=lambda conn: seen.append(value_of(conn, "lock_timeout")),
        after_ddl=lambda conn: seen.append(value_of(conn, "lock_timeout")),
    )
    report = two("run")

    assert seen == ["3s", "3s"] * 2
    assert [migration.warnings for migration in report.migrations] == [(), ()]


def test_a_setting_changed_plainly_by_a_wrapper_is_put_back_before_the_hooks_inside_it(project, two):
    seen = []

    @hookimpl(wrapper=True)
    def wrap(conn):
        conn.execute("SET lock_timeout = '9s'")
        return (yield)

    project.plugin("wrapper", before_ddl=wrap)
    project.plugin("looker", before_ddl=lambda conn: seen.append(value_of(conn, "lock_timeout")))
    report = two("run")

    assert seen == ["5s", "5s"]
    assert all(
        "plugin 'wrapper' changed lock_timeout" in migration.warnings[0] for migration in report.migrations
    )


@MODES
@DIRECTIVES
def test_with_set_local_role_the_runner_writes_the_ledger_as_itself(
    project, database, baker, mode, directive
):
    """The role owns what the migration makes, and may not even look into the ledger."""
    database.execute(f"GRANT CREATE ON SCHEMA public TO {baker}")
    project.write("1_a.up.sql", f"{directive}CREATE TABLE stall (name text);")
    project.write("1_a.down.sql", f"{directive}DROP TABLE stall;")
    project.plugin("setter", before_ddl=lambda context: context.set_local("role", baker))

    reports = [project.run(dry_run=mode == "dry-run")]
    owner = database.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'stall'").fetchall()
    if mode == "down":
        reports.append(project.down())

    assert [report.exit_code for report in reports] == [0] * len(reports)
    assert owner == ([] if mode == "dry-run" else [(baker,)])
    if mode != "dry-run":
        recorded = database.execute("SELECT applied_by FROM confiture.ledger").fetchall()
        assert recorded == ([] if mode == "down" else [(database.info.user,)])


def test_set_local_refuses_what_the_server_refuses(project):
    project.write("1_a.sql", "SELECT 1;")
    project.plugin("setter", before_ddl=lambda context: context.set_local("lock_timeout", "soon"))

    report = project.run()

    assert report.exit_code == 5
    assert 'invalid value for parameter "lock_timeout"' in report.migrations[0].error.message


def test_no_setting_of_a_hook_is_left_on_an_applications_connection(database_url):
    """Applied through the Python API, on an idle connection, committed by us."""
    from confiture.core import Hook, HookPhase, Migrator
    from confiture.models.migration import Migration

    class Changer(Hook):
        phase = HookPhase.AFTER_DDL

        def execute(self, conn, context):
            conn.execute("SET lock_timeout = '9s'; SET work_mem = '77MB'; SET TimeZone = 'Asia/Tokyo'")

    class Empty(Migration):
        version, name = "1", "empty"
        after_ddl_hooks = (Changer(),)

        def up(self):
            self.execute("SELECT 1")

    names = ("lock_timeout", "work_mem", "TimeZone")
    with psycopg.connect(database_url, autocommit=True) as conn:
        before = [value_of(conn, name) for name in names]

        Migrator(connection=conn).apply(Empty(connection=conn))

        assert [value_of(conn, name) for name in names] == before


def test_set_local_of_an_undone_wrapper_is_undone_with_it(project):
    """That of a hook inside it too, and neither is taken for a change by the hook after it."""
    seen = []

    @hookimpl(wrapper=True)
    def wrap(context):
        context.set_local("lock_timeout", "3s")
        yield
        raise psycopg.Rollback

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("wrapper", before_ddl=wrap)
    project.plugin("inner", before_ddl=lambda context: context.set_local("statement_timeout", "4s"))
    project.plugin(
        "looker",
        after_ddl=lambda conn: seen.append(
            (value_of(conn, "lock_timeout"), value_of(conn, "statement_timeout"))
        ),
    )
    report = project.run()

    assert report.exit_code == 0
    assert seen == [("5s", "0")]
    assert report.migrations[0].warnings == ()


def test_a_failed_hook_inside_a_wrapper_leaves_the_wrappers_set_local(project):
    seen = []

    @hookimpl(wrapper=True)
    def wrap(context):
        context.set_local("lock_timeout", "3s")
        return (yield)

    def undo(context):
        context.set_local("lock_timeout", "4s")
        raise psycopg.Rollback

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("wrapper", before_ddl=wrap)
    project.plugin("inner", before_ddl=undo)
    project.plugin(
        "looker",
        before_ddl=lambda conn: seen.append(value_of(conn, "lock_timeout")),
        cleanup=lambda conn: seen.append(value_of(conn, "lock_timeout")),
    )
    report = project.run()

    assert seen == ["3s", "3s"]
    assert report.migrations[0].warnings == ()
