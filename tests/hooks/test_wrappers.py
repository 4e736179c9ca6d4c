"""Wrappers: a savepoint that encloses those of the hooks inside it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from confiture import HookResult, hookimpl
from confiture.exceptions import PluginFault
from confiture.hooks.plugin_manager import GuardedPluginManager
from confiture.models.report import Report

pytestmark = pytest.mark.slow


def put(conn: Any, fruit: str) -> None:
    conn.execute("INSERT INTO jam VALUES (%s)", (fruit,))


def new_style(first: Any = None, second: Any = None, caught: Any = None) -> Any:
    """A ``wrapper=True``; ``first`` runs before the hooks inside, ``second`` after, ``caught`` on failure."""

    @hookimpl(wrapper=True)
    def wrap(conn):
        if first:
            first(conn)
        try:
            result = yield
        except Exception as error:
            if caught is None:
                raise
            return caught(conn, error)
        if second:
            second(conn)
        return result

    return wrap


STYLES = pytest.mark.parametrize("style", [new_style])
MODES = pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry-run"])
CONTINUE = {"on_failure": "continue"}


@pytest.fixture
def play(project, jam):
    """Run one migration with a wrapper round two hooks, ``inner`` and then ``next``."""

    def run(wrap, inner=None, *, config=None, inner_config=None, dry_run=False):
        project.write("1_a.sql", "CREATE TABLE stall (name text);")
        project.plugin("wrapper", after_ddl=wrap, config=config)
        project.plugin("inner", after_ddl=inner or (lambda conn: put(conn, "inner")), config=inner_config)
        project.plugin("next", after_ddl=lambda conn: put(conn, "next"))
        return project.run(dry_run=dry_run)

    return run


def burn(conn: Any, *_: Any) -> None:
    put(conn, "burnt")
    raise ValueError("burnt")


def outcomes(report: Report) -> list[tuple[str | None, str]]:
    return [(hook.plugin, hook.outcome) for hook in report.migrations[0].hooks]


@STYLES
@MODES
def test_a_wrapper_runs_before_and_after_the_hooks_inside_it(play, jam, style, dry_run):
    report = play(style(lambda conn: put(conn, "before"), lambda conn: put(conn, "after")), dry_run=dry_run)

    assert report.exit_code == 0
    assert outcomes(report) == [("inner", "kept"), ("next", "kept"), ("wrapper", "kept")]
    assert jam() == ([] if dry_run else ["after", "before", "inner", "next"])


@STYLES
@MODES
def test_a_failing_wrapper_undoes_the_hooks_inside_it_and_reports_them_undone(play, jam, style, dry_run):
    report = play(style(second=burn), config=CONTINUE, dry_run=dry_run)

    assert report.exit_code == 0
    assert outcomes(report) == [("inner", "undone"), ("next", "undone"), ("wrapper", "undone")]
    assert "plugin 'wrapper' failed and was rolled back: burnt" in report.migrations[0].warnings[0]
    assert jam() == []


@STYLES
def test_a_failing_wrapper_stops_the_migration_with_5_by_default(play, jam, database, style):
    report = play(style(second=burn))

    (migration,) = report.migrations
    assert report.exit_code == 5
    assert "burnt" in migration.error.message
    assert outcomes(report) == [("inner", "undone"), ("next", "undone"), ("wrapper", "undone")]
    assert jam() == []
    assert database.execute("SELECT to_regclass('stall')").fetchone() == (None,)


@STYLES
def test_a_wrapper_that_fails_before_its_hooks_stops_the_migration_with_5(play, jam, style):
    report = play(style(first=burn))

    assert report.exit_code == 5
    assert outcomes(report) == [("wrapper", "undone")]
    assert jam() == []


@STYLES
@pytest.mark.parametrize("error", [ValueError("burnt"), psycopg.Rollback()], ids=["continue", "Rollback"])
def test_without_a_wrapper_that_failed_before_them_the_hooks_inside_run(play, jam, style, error):
    def first(conn):
        put(conn, "before")
        raise error

    report = play(style(first, lambda conn: put(conn, "after")), config=CONTINUE)

    assert report.exit_code == 0
    assert outcomes(report) == [("wrapper", "undone"), ("inner", "kept"), ("next", "kept")]
    assert jam() == ["inner", "next"]


@STYLES
def test_a_wrapper_that_raises_rollback_afterwards_undoes_the_hooks_inside_it(play, jam, style):
    def undo(conn):
        raise psycopg.Rollback

    report = play(style(second=undo))

    assert report.exit_code == 0
    assert outcomes(report) == [("inner", "undone"), ("next", "undone"), ("wrapper", "undone")]
    assert report.migrations[0].warnings == ()
    assert jam() == []


@STYLES
def test_a_wrapper_sees_the_failure_of_a_hook_inside_it_and_may_swallow_it(play, jam, style):
    seen = []

    def caught(conn, error):
        seen.append((error.hook_name, error.phase.spec, str(error.error)))
        put(conn, "instead")

    report = play(style(lambda conn: put(conn, "before"), caught=caught), burn)

    assert report.exit_code == 0
    assert seen == [("burn", "after_ddl", "burnt")]
    assert outcomes(report) == [("inner", "undone"), ("wrapper", "kept")]
    assert jam() == ["before", "instead"]


@STYLES
def test_a_failure_that_a_wrapper_lets_pass_names_the_hook_that_failed(play, jam, style):
    report = play(style(), burn)

    (migration,) = report.migrations
    assert report.exit_code == 5
    assert migration.error.hook == "burn"
    assert migration.error.message == "hook 'burn' of plugin 'inner': ValueError: burnt"
    assert outcomes(report)[0] == ("inner", "undone")
    assert jam() == []


@STYLES
def test_the_policy_of_a_wrapper_does_not_pass_over_the_failure_of_a_hook_inside_it(play, jam, style):
    report = play(style(), burn, config=CONTINUE)

    assert report.exit_code == 5
    assert report.migrations[0].error.hook == "burn"


def test_a_wrapper_passed_over_leaves_the_failure_inside_it_standing(play, jam):
    report = play(new_style(caught=burn), burn, config=CONTINUE)

    assert report.exit_code == 5
    assert report.migrations[0].error.hook == "burn"


@STYLES
@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK; BEGIN", "COMMIT AND CHAIN"])
@MODES
def test_a_fatal_failure_inside_a_wrapper_cannot_be_swallowed(play, jam, style, statement, dry_run):
    def end(conn):
        conn.execute(statement)

    wrap = style(second=lambda conn: put(conn, "after"), caught=lambda conn, error: None)
    report = play(wrap, end, config=CONTINUE, inner_config=CONTINUE, dry_run=dry_run)

    (migration,) = report.migrations
    assert report.exit_code == 5
    assert migration.error.hook.endswith("end")
    assert "may be committed" in migration.error.message
    assert ("wrapper", "kept") not in outcomes(report)
    assert "after" not in jam()


@STYLES
def test_a_lost_connection_inside_a_wrapper_cannot_be_swallowed(play, jam, style):
    report = play(style(caught=lambda conn, error: None), lambda conn: conn.close(), config=CONTINUE)

    assert report.exit_code == 5
    assert "the connection" in report.migrations[0].error.message


@STYLES
@pytest.mark.parametrize("half", ["first", "second"])
@pytest.mark.parametrize("statement", ["COMMIT", "COMMIT; BEGIN"])
def test_a_wrapper_that_ends_the_transaction_is_fatal(play, jam, style, half, statement):
    report = play(style(**{half: lambda conn: conn.execute(statement)}), config=CONTINUE)

    assert report.exit_code == 5
    assert "may be committed" in report.migrations[0].error.message


@STYLES
@pytest.mark.parametrize("half", ["first", "second"])
def test_a_wrapper_that_catches_an_sql_error_has_failed(play, jam, style, half):
    def swallow(conn):
        try:
            conn.execute("SELECT 1/0")
        except psycopg.Error:
            return

    report = play(style(**{half: swallow}))

    assert report.exit_code == 5
    assert "caught an SQL error" in report.migrations[0].error.message
    assert "wrap" in report.migrations[0].error.hook


@STYLES
@pytest.mark.parametrize("half", ["first", "second"])
def test_a_wrapper_that_leaves_a_copy_open_has_failed(play, jam, style, half):
    report = play(style(**{half: lambda conn: conn.pgconn.exec_(b"COPY jam FROM STDIN")}))

    assert report.exit_code == 5
    assert "COPY" in report.migrations[0].error.message


@pytest.mark.parametrize("times", [0, 2])
def test_a_wrapper_that_does_not_yield_once_has_failed(play, jam, times):
    def wrap(conn):
        for _ in range(times):
            yield

    report = play(hookimpl(wrapper=True)(wrap))

    assert report.exit_code == 5
    assert "a wrapper yields once" in report.migrations[0].error.message


def test_what_a_wrapper_returns_replaces_the_results_and_only_a_hook_result_is_reported(play, jam):
    @hookimpl(wrapper=True)
    def wrap():
        yield
        return HookResult(phase="AFTER_DDL", hook_name="All", rows_affected=2)

    report = play(wrap)

    assert report.exit_code == 0
    assert [(hook.hook, hook.rows_affected) for hook in report.migrations[0].hooks][-1] == ("All", 2)


def test_wrappers_nest_and_the_inner_one_is_undone_with_the_outer(project, jam):
    project.write("1_a.sql", "SELECT 1;")
    project.plugin("outer", after_ddl=new_style(lambda conn: put(conn, "outer"), burn), config=CONTINUE)
    project.plugin("between", after_ddl=new_style(lambda conn: put(conn, "between")))
    project.plugin("plain", after_ddl=lambda conn: put(conn, "plain"))
    project.plugin("later", cleanup=lambda conn: put(conn, "later"))

    report = project.run()

    assert report.exit_code == 0
    assert [(plugin, outcome) for plugin, outcome in outcomes(report)] == [
        ("plain", "undone"),
        ("between", "undone"),
        ("outer", "undone"),
        ("later", "kept"),
    ]
    assert jam() == ["later"]


def test_a_wrapper_round_no_hook_runs(project, jam):
    project.write("1_a.sql", "SELECT 1;")
    project.plugin("wrapper", after_ddl=new_style(lambda conn: put(conn, "before")))

    report = project.run()

    assert outcomes(report) == [("wrapper", "kept")]
    assert jam() == ["before"]


def test_an_old_style_hookwrapper_is_refused_with_the_way_to_write_it():
    class Old:
        @hookimpl(hookwrapper=True)
        def after_ddl(self):
            yield

    with pytest.raises(PluginFault, match=r"after_ddl\(\) is marked hookwrapper") as caught:
        GuardedPluginManager().register(Old(), "old")

    assert "wrapper=True" in str(caught.value.hint)
