"""What a hook is told through its context, and what it may say and ask there."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from confiture import HookContext, HookResult, hookimpl
from confiture.core import HookPhase
from tests.project import Project as CommandProject

pytestmark = pytest.mark.slow

MODES = pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry-run"])


def burn(*_: Any) -> None:
    raise ValueError("burnt")


def test_a_context_made_by_hand_has_defaults():
    context = HookContext("stalls", "1")

    assert (context.migration_name, context.migration_version, context.direction) == (
        "stalls",
        "1",
        "forward",
    )
    assert (context.phase, context.dry_run, context.attempt, context.config) == (None, False, 1, {})
    assert (context.error, context.resume, dict(context.data), context.stats) == (None, None, {}, {})
    assert (context.get_stat("none"), context.get_stat("none", 7)) == (None, 7)


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.relations(),
        lambda c: c.set_local("role", "none"),
        lambda c: c.statements(),
        lambda c: c.warn("burnt"),
    ],
)
def test_outside_a_hook_a_context_says_that_it_has_no_migration_to_ask(ask):
    with pytest.raises(RuntimeError, match="while a hook is running"):
        ask(HookContext("stalls", "1"))


def test_stats_of_a_context_are_a_copy():
    context = HookContext("stalls", "1")

    context.set_stat("rows", 7)
    context.stats["rows"] = 8

    assert context.get_stat("rows") == 7


def test_the_context_names_migration_direction_phase_attempt_and_the_plugins_own_table(scene):
    seen = []

    def look(conn, context):
        seen.append(
            (context.migration_name, context.migration_version, context.direction, context.phase,
             context.dry_run, context.attempt)
        )  # fmt: skip

    scene.play(look)

    direction = "backward" if scene.way.mode == "down" else "forward"
    dry_run = scene.way.mode == "dry-run"
    assert seen == [("stalls", "1", direction, HookPhase.AFTER_DDL, dry_run, 1)]


def test_each_plugin_has_its_own_table_as_config(project):
    seen: dict[str, Any] = {}
    project.write("1_a.sql", "SELECT 1;")
    project.plugin(
        "a", before_ddl=lambda context: seen.update(a=dict(context.config)), config={"fruit": "fig"}
    )
    project.plugin("b", before_ddl=lambda context: seen.update(b=dict(context.config)))

    project.run()

    assert seen == {"a": {"fruit": "fig"}, "b": {}}


def test_stats_are_reported_beside_the_hook_that_set_them(project):
    def note(context):
        context.set_stat("rows", 7)

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", before_ddl=note)
    project.plugin("b", before_ddl=note)
    project.plugin("c", before_ddl=lambda context: None)
    report = project.run()

    assert [hook.stats for hook in report.migrations[0].hooks] == [{"rows": 7}, {"rows": 7}, {}]


def test_stats_of_a_wrapper_are_its_own(project):
    @hookimpl(wrapper=True)
    def wrap(context):
        context.set_stat("before", 1)
        result = yield
        context.set_stat("after", context.get_stat("inside") + 1)
        return result

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("wrapper", before_ddl=wrap)
    project.plugin("inner", before_ddl=lambda context: context.set_stat("inside", 2))
    report = project.run()

    assert [hook.stats for hook in report.migrations[0].hooks] == [{"inside": 2}, {"before": 1, "after": 3}]


def test_stats_of_a_hook_and_of_its_result_are_reported_together(project):
    def note(context):
        context.set_stat("rows", 7)
        return HookResult("before_ddl", "Note", stats={"pots": 8})

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", before_ddl=note)
    report = project.run()

    assert report.migrations[0].hooks[0].stats == {"rows": 7, "pots": 8}


def test_stats_and_data_of_an_undone_hook_are_forgotten(project):
    seen = []

    def undo(context):
        context.set_stat("rows", 7)
        context.data["a"] = "jam"
        raise psycopg.Rollback

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", before_ddl=undo)
    project.plugin(
        "b", before_ddl=lambda context: seen.append((context.get_stat("rows"), dict(context.data)))
    )
    report = project.run()

    assert seen == [(None, {})]
    assert report.migrations[0].hooks[0].stats == {}


def test_data_is_handed_over_between_hooks_and_phases(project):
    seen = []
    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", before_ddl=lambda context: context.data["a"].update(fruit="fig"))
    project.plugin(
        "b",
        after_ddl=lambda context: seen.append(context.data["a"]["fruit"]),
        before_ddl=lambda context: seen.append(context.data["a"]["fruit"]),
    )
    report = project.run()

    assert report.exit_code == 0
    assert seen == ["fig", "fig"]


@pytest.mark.parametrize(
    "write",
    [
        lambda data: data.__setitem__("a", {}),
        lambda data: data.__delitem__("a"),
        lambda data: data["a"].update(fruit="plum"),
        lambda data: data.pop("a"),
    ],
    ids=["set", "delete", "inside", "pop"],
)
def test_data_of_another_plugin_may_be_read_and_not_written(project, write):
    seen = []
    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", before_ddl=lambda context: context.data["a"].update(fruit="fig"))
    project.plugin("b", before_ddl=lambda context: write(context.data), config={"on_failure": "continue"})
    project.plugin("c", before_ddl=lambda context: seen.append({**context.data["a"]}))
    report = project.run()

    assert report.exit_code == 0
    assert [hook.outcome for hook in report.migrations[0].hooks] == ["kept", "undone", "kept"]
    assert seen == [{"fruit": "fig"}]


def test_data_that_an_undone_hook_changed_is_as_it_was(project):
    seen = []

    def undo(context):
        context.data["a"]["fruit"] = "plum"
        raise psycopg.Rollback

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", before_ddl=lambda context: context.data["a"].update(fruit="fig"), after_ddl=undo)
    project.plugin("b", after_ddl=lambda context: seen.append({**context.data["a"]}))
    project.run()

    assert seen == [{"fruit": "fig"}]


def test_data_does_not_go_over_to_the_next_migration(project):
    seen = []

    def leave(context):
        seen.append(dict(context.data))
        context.data["a"] = "jam"

    project.write("1_a.sql", "SELECT 1;")
    project.write("2_b.sql", "SELECT 1;")
    project.plugin("a", before_ddl=leave)
    project.run()

    assert seen == [{}, {}]


def test_a_retry_after_a_lock_timeout_counts_the_attempt_and_begins_anew(project, database, second, jam):
    """New data, stats and callbacks; what the first attempt left is gone."""
    seen, called = [], []
    second.execute("BEGIN; LOCK jam")

    def look(conn, context):
        seen.append((context.attempt, dict(context.data), context.stats))
        context.data["a"] = "jam"
        context.set_stat("rows", 7)
        context.on_commit(lambda: called.append(context.attempt))
        if context.attempt == 2:
            second.execute("ROLLBACK")

    project.write("1_a.sql", "-- confiture: lock_timeout=100ms\nALTER TABLE jam ADD pots int;")
    project.plugin("a", before_ddl=look)
    report = project.run()

    assert report.exit_code == 0
    assert seen == [(1, {}, {}), (2, {}, {})]
    assert called == [2]


def test_relations_are_what_the_migration_has_changed_so_far(scene):
    seen = []
    scene.database.execute('CREATE TABLE "Odd Table" (id int)')

    def look(conn, context):
        seen.append(context.relations())
        conn.execute('INSERT INTO "Odd Table" VALUES (1)')
        seen.append(context.relations())

    scene.play(look)

    first, after = seen
    if scene.way.mode != "down" and (scene.way.transactional or not scene.way.keeps):
        assert "public.stall" in first
    assert set(after) - set(first) == {'public."Odd Table"'}
    assert "public.jam" not in after


@MODES
def test_statements_are_those_that_the_migration_has_run_so_far(project, jam, dry_run):
    seen = []

    def look(conn, context):
        conn.execute("SELECT 1")
        seen.append(context.statements())

    project.write("1_a.sql", "INSERT INTO jam VALUES ('fig'); -- sweet\nDELETE FROM jam;")
    project.write("2_b.sql", "-- confiture: no-transaction\nTRUNCATE jam;")
    project.plugin("a", before_ddl=look, cleanup=look)
    project.run(dry_run=dry_run)

    first, after, *others = ([" ".join(sql.split()) for sql in statements] for statements in seen)
    assert first == []
    assert after == ["INSERT INTO jam VALUES ('fig')", "DELETE FROM jam"]
    assert others == [[], ["TRUNCATE jam"]]


@MODES
@pytest.mark.parametrize("fails", [False, True], ids=["kept", "undone"])
def test_a_warning_of_a_hook_is_in_the_report(project, jam, dry_run, fails):
    def look(conn, context):
        context.warn("too sweet")
        if fails:
            burn()

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", after_ddl=look)
    report = project.run(dry_run=dry_run)

    assert report.migrations[0].warnings == ("a: too sweet",)


def test_relations_only_read_are_not_among_the_changed(project, jam):
    seen = []

    def look(conn, context):
        conn.execute("SELECT * FROM jam FOR UPDATE")
        seen.append(context.relations())

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", before_ddl=look)
    project.run()

    assert seen == [()]


@MODES
def test_on_commit_is_called_after_the_commit_and_in_a_rehearsal_only_listed(project, second, jam, dry_run):
    seen = []

    def tell():
        seen.append(second.execute("SELECT fruit FROM jam").fetchall())

    def fill(conn, context):
        conn.execute("INSERT INTO jam VALUES ('fig')")
        context.on_commit(tell)

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", before_ddl=fill)
    report = project.run(dry_run=dry_run)

    (migration,) = report.migrations
    assert seen == ([] if dry_run else [[("fig",)]])
    assert [name.rpartition(".")[2] for name in migration.on_commit] == (["tell"] if dry_run else [])


def test_on_commit_of_a_no_transaction_migration_is_called_after_the_last_commit(project, second):
    seen = []

    def tell():
        seen.append(second.execute("SELECT count(*) FROM confiture.ledger").fetchone())

    project.write("1_a.sql", "-- confiture: no-transaction\nSELECT 1;")
    project.plugin("a", before_ddl=lambda context: context.on_commit(tell))
    project.run()

    assert seen == [(1,)]


@pytest.mark.parametrize("directive", ["", "-- confiture: no-transaction\n"])
def test_on_commit_of_an_undone_hook_or_of_a_failed_migration_is_not_called(project, directive):
    called = []

    def undo(context):
        context.on_commit(lambda: called.append("undone"))
        raise psycopg.Rollback

    project.write("1_a.sql", f"{directive}SELECT 1;")
    project.write("2_b.sql", f"{directive}SELECT 1/0;")
    project.plugin("a", before_ddl=undo)
    project.plugin("b", before_ddl=lambda context: context.on_commit(lambda: called.append("kept")))
    report = project.run()

    assert [migration.outcome for migration in report.migrations] == ["applied", "failed"]
    assert called == ["kept"]


@pytest.mark.parametrize("error", [ValueError("burnt"), SystemExit(0)])
def test_a_failing_on_commit_callback_is_said_and_the_rest_goes_on(project, error):
    called = []

    def fail():
        raise error

    def ask(context):
        context.on_commit(fail)
        context.on_commit(lambda: called.append(context.migration_version))

    project.write("1_a.sql", "SELECT 1;")
    project.write("2_b.sql", "SELECT 1;")
    project.plugin("a", before_ddl=ask)
    report = project.run()

    assert report.exit_code == 0
    assert called == ["1", "2"]
    assert "failed after the commit" in report.migrations[0].warnings[0]


@MODES
def test_on_error_is_told_the_error_and_what_it_writes_lasts_but_in_a_rehearsal(project, jam, dry_run):
    seen, called = [], []

    def note(conn, context, error):
        seen.append((context.error is error, type(error).__name__, context.phase))
        conn.execute("INSERT INTO jam VALUES ('fig')")
        context.on_commit(lambda: called.append(True))

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", before_ddl=burn, on_error=note)
    report = project.run(dry_run=dry_run)

    assert report.exit_code == 5
    assert seen == [(True, "ValueError", HookPhase.ON_ERROR)]
    assert [(hook.phase, hook.outcome) for hook in report.migrations[0].hooks][-1] == ("on_error", "kept")
    assert jam() == ([] if dry_run else ["fig"])
    assert called == ([] if dry_run else [True])


def test_on_error_after_a_lost_connection_writes_on_a_new_one(project, jam):
    project.write("1_a.sql", "SELECT 1;")
    project.plugin(
        "a",
        before_ddl=lambda conn: conn.close(),
        on_error=lambda conn: conn.execute("INSERT INTO jam VALUES ('fig')") and None,
    )
    report = project.run()

    assert report.exit_code == 5
    assert jam() == ["fig"]


@pytest.mark.parametrize("how", [burn, lambda conn: conn.execute("COMMIT"), lambda conn: conn.close()])
def test_on_error_that_fails_is_said_and_leaves_the_exit_code(project, how):
    project.write("1_a.sql", "SELECT 1/0;")
    project.plugin("a", on_error=how)
    report = project.run()

    assert report.exit_code == 4
    assert "division by zero" in report.migrations[0].error.message
    assert "on_error failed too" in report.migrations[0].warnings[0]


LOGGING = """\
from confiture import hookimpl


@hookimpl
def before_ddl(context):
    context.log.info("jam.boiled", pots=7)
"""


def test_the_log_is_bound_to_version_phase_and_plugin_and_goes_to_stderr(tmp_path, database_url):
    project = CommandProject(tmp_path, database_url)
    project.install("talker", LOGGING)
    project.write("1_a.sql", "SELECT 1;")

    answer = project("run", "--plugins", "talker", "-v")

    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.err.splitlines() if "jam.boiled" in line]
    assert "jam.boiled" not in answer.out
    for said in ("pots", "7", "version", "1", "phase", "before_ddl", "plugin", "talker"):
        assert said in line


def test_without_a_transaction_relations_are_what_its_earlier_statements_changed(project):
    """Each statement is committed by itself; what it changed is remembered."""
    seen = []

    def look(conn, context):
        seen.append(context.relations())

    project.plugin("seer", after_ddl=look)
    project.write(
        "1_jam.sql",
        "-- confiture: no-transaction\n"
        "CREATE TABLE jam (fruit text);\n"
        "CREATE TABLE pots AS SELECT 1 AS one;\n"
        "CREATE INDEX CONCURRENTLY ON jam (fruit);\n",
    )

    report = project.run()

    assert report.exit_code == 0
    assert seen == [("public.jam", "public.pots")]
