"""Every shape of a hook that pluggy allows, the order they are called in, and policies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from confiture import hookimpl

pytestmark = pytest.mark.slow

PHASES = ("before_validation", "before_ddl", "after_ddl", "after_validation", "cleanup")


@pytest.fixture
def played(project, jam):
    """Run one migration with one plugin object, and return the fruits that its hooks left."""

    def play(plugin: object, **more: Any) -> list[str]:
        project.write("1_a.sql", "SELECT 1;")
        project.add("jam", plugin)
        assert project.run(**more).exit_code == 0
        fruits: list[str] = jam()
        return fruits

    return play


def put(conn: Any, fruit: str) -> None:
    conn.execute("INSERT INTO jam VALUES (%s)", (fruit,))


class Methods:
    @hookimpl
    def before_ddl(self, conn, context):
        put(conn, "method")

    @hookimpl
    @staticmethod
    def after_ddl(conn):
        put(conn, "static")

    @staticmethod
    @hookimpl
    def after_validation(conn, context):
        put(conn, "static below")

    @hookimpl
    @classmethod
    def cleanup(cls, conn, context):
        put(conn, f"class {cls.__name__}")


def test_methods_static_methods_and_class_methods_of_an_object_are_called(played):
    assert played(Methods()) == ["class Methods", "method", "static", "static below"]


class Unhashable(Methods):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other):
        return True


def test_equal_and_unhashable_plugins_are_each_called(project, jam):
    project.write("1_a.sql", "SELECT 1;")
    project.add("a", Unhashable())
    project.add("b", Unhashable())

    project.run()

    assert jam().count("method") == 2


@pytest.mark.parametrize(
    "function",
    [lambda: None, lambda conn: None, lambda context: None, lambda context, conn: None],
    ids=["none", "conn", "context", "swapped"],
)
def test_a_hook_may_take_fewer_arguments_in_any_order(project, function):
    seen = []
    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", **dict.fromkeys(PHASES, function))
    project.plugin("b", before_ddl=lambda context: seen.append(type(context).__name__))

    report = project.run()

    assert report.exit_code == 0
    assert seen == ["HookContext"]
    assert len(report.migrations[0].hooks) == 6


def test_a_hook_with_a_specname_runs_in_that_phase_under_its_own_name(project):
    def fill_shelves(context):
        context.set_stat("phase", context.phase.spec)

    project.write("1_a.sql", "SELECT 1;")
    project.add("a", SimpleNamespace(fill_shelves=hookimpl(specname="cleanup")(fill_shelves)))
    report = project.run()

    (hook,) = report.migrations[0].hooks
    assert (hook.phase, hook.hook, hook.stats) == ("cleanup", hook.hook, {"phase": "cleanup"})
    assert hook.hook.endswith("fill_shelves")


class Optional:
    @hookimpl(optionalhook=True)
    def in_a_later_version(self, conn):
        put(conn, "later")

    @hookimpl(optionalhook=True)
    def before_ddl(self, conn):
        put(conn, "now")


def test_an_optional_hook_of_another_version_is_left_out_and_the_others_run(played):
    assert played(Optional()) == ["now"]


def test_hooks_are_called_as_listed_then_tryfirst_and_trylast(project):
    seen = []

    def saying(name: str, **options: Any) -> Any:
        return hookimpl(**options)(lambda: seen.append(name))

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", before_ddl=saying("last", trylast=True))
    project.plugin("b", before_ddl=saying("listed first"))
    project.plugin("c", before_ddl=saying("listed second"))
    project.plugin("d", before_ddl=saying("first", tryfirst=True))
    project.run()

    assert seen == ["first", "listed first", "listed second", "last"]


def test_the_phases_run_in_order_and_on_error_only_after_a_failure(project):
    seen = []

    def look(context):
        seen.append(context.phase.spec)

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", **dict.fromkeys((*PHASES, "on_error"), look))
    project.run()

    assert seen == list(PHASES)


@pytest.mark.parametrize("transactional", [True, False])
@pytest.mark.parametrize("mode", ["run", "dry-run"])
def test_a_migrations_own_hooks_run_in_their_phases_after_the_plugins(project, mode, transactional):
    """Its list of errors too, once the rest has failed."""
    project.write(
        "1_a.py",
        f"""\
from confiture.core import Hook, HookPhase
from confiture.models.migration import Migration


def say(given, word):
    class Own(Hook):
        phase = given

        def execute(self, conn, context):
            context.data[type(self).__name__] = word
            context.set_stat("said", word)

    return Own()


class Stalls(Migration):
    transactional = {transactional}
    before_validation_hooks = [say(HookPhase.BEFORE_VALIDATION, 1)]
    before_ddl_hooks = (say(HookPhase.BEFORE_DDL, 2), say("before_ddl", 3))
    after_ddl_hooks = [say(HookPhase.AFTER_DDL, 4)]
    after_validation_hooks = [say(HookPhase.AFTER_VALIDATION, 5)]
    cleanup_hooks = [say(HookPhase.CLEANUP, 6)]
    error_hooks = [say(HookPhase.ON_ERROR, 7)]

    def up(self):
        self.execute("SELECT 1")
""",
    )
    project.write("2_b.sql", "SELECT 1;")
    project.plugin("a", **{phase: lambda context: context.set_stat("said", 0) for phase in PHASES})
    report = project.run(dry_run=mode == "dry-run")

    first, second = report.migrations
    assert report.exit_code == 0
    assert [hook.stats["said"] for hook in first.hooks] == [0, 1, 0, 2, 3, 0, 4, 0, 5, 0, 6]
    assert [hook.hook for hook in first.hooks if hook.plugin is None] == ["Own"] * 6
    # They are the first migration's alone.
    assert [hook.stats["said"] for hook in second.hooks] == [0] * 5


@pytest.mark.parametrize(
    "own, said",
    [
        ("before_ddl_hooks = [print]", "is not an instance of Hook"),
        ("cleanup_hooks = [Own]", "is not an instance of Hook"),
        ("cleanup_hooks = [Own()]", "Own is a hook of before_ddl"),
    ],
)
def test_an_own_list_with_something_else_in_it_is_refused_before_anything_runs(project, own, said):
    seen = []
    project.write(
        "1_a.py",
        "from confiture.core import Hook, HookPhase\n"
        "from confiture.models.migration import Migration\n\n\n"
        "class Own(Hook):\n    phase = HookPhase.BEFORE_DDL\n\n"
        "    def execute(self, conn, context):\n        pass\n\n\n"
        f"class Stalls(Migration):\n    {own}\n\n    def up(self):\n        pass\n",
    )
    project.plugin("a", before_validation=lambda: seen.append("ran"))
    report = project.run()

    assert report.exit_code == 4
    assert said in report.migrations[0].error.message
    assert seen == []


@pytest.mark.parametrize("directive", ["", "-- confiture: no-transaction\n"])
@pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry-run"])
def test_on_failure_continue_goes_on_and_is_reported(project, jam, directive, dry_run):
    def burn(conn):
        put(conn, "burnt")
        raise ValueError("burnt")

    project.write("1_a.sql", f"{directive}SELECT 1;")
    project.plugin("a", before_ddl=lambda conn: put(conn, "fig"))
    project.plugin("b", before_ddl=burn, config={"on_failure": "continue"})
    project.plugin("c", before_ddl=lambda conn: put(conn, "plum"))
    report = project.run(dry_run=dry_run)

    (migration,) = report.migrations
    assert report.exit_code == 0
    assert [(hook.plugin, hook.outcome) for hook in migration.hooks] == [
        ("a", "kept"),
        ("b", "undone"),
        ("c", "kept"),
    ]
    assert len(migration.warnings) == 1
    assert "plugin 'b' failed and was rolled back: burnt" in migration.warnings[0]
    assert jam() == ([] if dry_run else ["fig", "plum"])


@pytest.mark.parametrize("directive", ["", "-- confiture: no-transaction\n"])
def test_the_hooks_before_a_failed_one_in_its_phase_are_reported_undone_with_it(project, jam, directive):
    def burn():
        raise ValueError("burnt")

    project.write("1_a.sql", f"{directive}SELECT 1;")
    project.plugin("a", before_validation=lambda conn: put(conn, "plum"))
    project.plugin("b", before_ddl=lambda conn: put(conn, "fig"))
    project.plugin("c", before_ddl=burn)
    report = project.run()

    # Without a transaction the phase before it was committed in one of its own.
    before = "kept" if directive else "undone"
    assert [hook.outcome for hook in report.migrations[0].hooks] == [before, "undone", "undone"]
    assert jam() == (["plum"] if directive else [])


@pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry-run"])
def test_a_generator_hook_in_a_transaction_runs_to_its_end_and_commits_nothing(project, second, jam, dry_run):
    seen = []

    def fill(conn):
        for fruit in ("fig", "plum"):
            put(conn, fruit)
            yield fruit
            seen.append(second.execute("SELECT count(*) FROM jam").fetchone())

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", after_ddl=fill)
    report = project.run(dry_run=dry_run)

    assert report.exit_code == 0
    assert seen == [(0,), (0,)]
    assert jam() == ([] if dry_run else ["fig", "plum"])


def test_a_generator_hook_that_fails_after_a_yield_is_undone_as_a_whole(project, jam):
    def fill(conn):
        put(conn, "fig")
        yield 1
        raise ValueError("burnt")

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", after_ddl=fill)
    report = project.run()

    assert report.exit_code == 5
    assert jam() == []


def test_a_generator_hook_may_return_a_result_and_its_context_is_its_own(project):
    from confiture import HookResult

    def fill(context):
        yield 1
        context.set_stat("phase", context.phase.spec)
        return HookResult("after_ddl", "Fill", rows_affected=2)

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", after_ddl=fill)
    report = project.run()

    (hook,) = report.migrations[0].hooks
    assert (hook.hook, hook.rows_affected, hook.stats) == ("Fill", 2, {"phase": "after_ddl"})


@pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry-run"])
def test_a_failed_hook_loses_only_its_own_rows(project, jam, dry_run):
    """Even where it opened transactions and savepoints of its own."""
    seen = []

    def nest(conn):
        with conn.transaction():
            put(conn, "inner")
            conn.execute("SAVEPOINT mine")
            put(conn, "mine")
        raise psycopg.Rollback

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", after_ddl=lambda conn: put(conn, "fig"))
    project.plugin("b", after_ddl=nest)
    project.plugin("c", after_ddl=lambda conn: seen.extend(conn.execute("SELECT fruit FROM jam").fetchall()))
    project.run(dry_run=dry_run)

    assert seen == [("fig",)]


def test_a_hook_that_rolls_back_to_a_savepoint_of_its_own_is_kept(project, jam):
    def careful(conn):
        put(conn, "fig")
        conn.execute("SAVEPOINT mine")
        put(conn, "plum")
        conn.execute("ROLLBACK TO mine")

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("a", after_ddl=careful)
    project.run()

    assert jam() == ["fig"]
