"""CONTRACT, Hooks and their guard, generator hooks: each yield commits and is stored, and a crash loses nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from confiture import HookResult, hookimpl
from confiture.plugins.load import LoadedPlugin
from tests.project import Project, exists, keeper_of, only, plugin, until

pytestmark = pytest.mark.slow

NO_TRANSACTION = "-- confiture: no-transaction\n"
FRUITS = ("apple", "fig", "plum", "quince")


@pytest.fixture
def project(tmp_path: Path, database_url: str) -> Project:
    """One no-transaction migration, ``1 stall``."""
    made = Project(tmp_path, database_url)
    made.write("1_stall.up.sql", f"{NO_TRANSACTION}CREATE TABLE stall ();")
    made.write("1_stall.down.sql", f"{NO_TRANSACTION}DROP TABLE stall;")
    return made


@pytest.fixture
def jam(database: psycopg.Connection[Any]) -> Callable[[], list[str]]:
    """A table for hooks to write to; returns what another session finds in it."""
    database.execute("CREATE TABLE jam (fruit text)")
    return lambda: [fruit for (fruit,) in database.execute("SELECT fruit FROM jam ORDER BY fruit")]


def put(conn: psycopg.Connection[Any], fruit: str) -> None:
    conn.execute("INSERT INTO jam VALUES (%s)", (fruit,))


def fill(conn, context):
    """Put the fruits that are not in yet, one a yield."""
    for number in range((context.resume or {"filled": 0})["filled"], len(FRUITS)):
        put(conn, FRUITS[number])
        yield {"filled": number + 1}
    return HookResult(phase="AFTER_DDL", hook_name="Fill", rows_affected=len(FRUITS))


def stored(database: psycopg.Connection[Any]) -> list[Any]:
    return database.execute(
        "SELECT version, direction, phase, plugin, hook, progress FROM confiture.hook_progress ORDER BY hook"
    ).fetchall()


class TestYield:
    """What happens at each."""

    def test_it_commits_and_is_stored(self, project, database, jam):
        seen = []

        def after_ddl(conn):
            for number, fruit in enumerate(FRUITS):
                put(conn, fruit)
                yield {"filled": number}
                seen.append((jam(), stored(database)[0][-1]))

        report = project.run(plugin(after_ddl=after_ddl))

        assert report.exit_code == 0
        assert seen == [(list(FRUITS[: n + 1]), {"filled": n}) for n in range(len(FRUITS))]

    def test_what_comes_after_the_last_yield_is_kept_too(self, project, jam):
        def after_ddl(conn):
            put(conn, "fig")
            yield 1
            put(conn, "plum")

        project.run(plugin(after_ddl=after_ddl))

        assert jam() == ["fig", "plum"]

    def test_the_result_is_reported_and_the_progress_forgotten_with_the_ledger_row(
        self, project, database, jam
    ):
        report = project.run(plugin(after_ddl=fill))

        (hook,) = only(report).hooks
        assert (hook.hook, hook.outcome, hook.rows_affected) == ("Fill", "kept", 4)
        assert jam() == list(FRUITS)
        assert stored(database) == []
        assert project.states() == {"1": "applied"}

    def test_a_migrations_own_hook_may_yield(self, project, database, jam):
        for path in project.migrations.iterdir():
            path.unlink()
        project.write(
            "1_stall.py",
            """
            from confiture.core import Hook, HookPhase
            from confiture.models.migration import Migration

            class Fill(Hook):
                phase = HookPhase.CLEANUP

                def execute(self, conn, context):
                    conn.execute("INSERT INTO jam VALUES ('fig')")
                    yield 1
                    raise ValueError("burnt")

            class Stall(Migration):
                transactional = False
                cleanup_hooks = [Fill()]

                def up(self):
                    self.execute("CREATE TABLE stall ()")
            """,
        )

        report = project.run()

        assert report.exit_code == 5
        assert jam() == ["fig"]
        assert stored(database) == [("1", "forward", "cleanup", "", "Fill", 1)]

    def test_it_commits_on_the_way_down(self, project, database, jam):
        project.run()

        def before_ddl(conn):
            put(conn, "fig")
            yield "one"
            raise ValueError("burnt")

        report = project.down(plugin(before_ddl=before_ddl))

        assert report.exit_code == 5
        assert jam() == ["fig"]
        assert [row[:3] for row in stored(database)] == [("1", "backward", "before_ddl")]

    def test_several_generator_hooks_of_a_phase_have_their_own_progress(self, project, database, jam):
        def burnt(conn, context):
            yield {"burnt": context.resume}
            raise ValueError("burnt")

        report = project.run(plugin("one", after_ddl=fill), plugin("two", after_ddl=burnt))

        assert report.exit_code == 5
        assert {row[3]: row[5] for row in stored(database)} == {"one": {"filled": 4}, "two": {"burnt": None}}

    @pytest.mark.parametrize("progress", [{1, 2}, {"k": object}, b"\xff"], ids=["set", "class", "bytes"])
    def test_what_json_does_not_know_is_stored_as_its_text(self, project, database, jam, progress):
        def after_ddl(conn):
            put(conn, "fig")
            yield progress
            raise ValueError("burnt")

        report = project.run(plugin(after_ddl=after_ddl))

        assert only(report).error.message.endswith("ValueError: burnt")
        assert jam() == ["fig"]
        assert len(stored(database)) == 1

    @pytest.mark.parametrize(
        "progress, said",
        [
            ({(1, 2): 3}, "keys must be"),
            (float("nan"), "float"),
            ("\\\\\0", "no NUL"),
            ("\ud800", "surrogates"),
        ],
        ids=["a tuple for a key", "not a number", "a NUL", "half a surrogate"],
    )
    def test_what_cannot_be_stored_as_json_is_a_failed_hook(self, project, database, jam, progress, said):
        def after_ddl(conn):
            put(conn, "fig")
            yield 1
            put(conn, "plum")
            yield progress

        report = project.run(plugin(after_ddl=after_ddl))

        error = only(report).error
        assert (report.exit_code, error.hook is not None) == (5, True)
        assert "it yielded a value that cannot be stored as JSON" in error.message
        assert said in error.message
        assert "ended the transaction" not in error.message
        assert jam() == ["fig"]
        assert stored(database)[0][-1] == 1

    def test_inside_its_own_transaction_it_is_a_failed_hook(self, project, database, jam):
        def after_ddl(conn):
            put(conn, "fig")
            yield 1
            with conn.transaction():
                put(conn, "plum")
                yield 2

        report = project.run(plugin(after_ddl=after_ddl))

        assert report.exit_code == 5
        assert "it yielded inside its own `with conn.transaction():`" in only(report).error.message
        assert jam() == ["fig"]
        assert stored(database)[0][-1] == 1

    def test_after_an_sql_error_that_was_caught_it_is_a_failed_hook(self, project, jam):
        def after_ddl(conn):
            put(conn, "fig")
            try:
                conn.execute("SELECT 1/0")
            except psycopg.Error:
                yield 1

        report = project.run(plugin(after_ddl=after_ddl))

        assert report.exit_code == 5
        assert "caught an SQL error" in only(report).error.message
        assert jam() == []

    def test_a_commit_that_is_refused_is_a_failed_hook(self, project, database, jam):
        """Deferred constraints are checked at each; no later hook finds a transaction to run in."""
        database.execute("ALTER TABLE jam ADD UNIQUE (fruit) DEFERRABLE INITIALLY DEFERRED")

        def after_ddl(conn):
            put(conn, "fig")
            yield 1
            put(conn, "fig")
            yield 2

        later = plugin("later", after_ddl=lambda conn: put(conn, "plum"))
        report = project.run(
            plugin(after_ddl=after_ddl), later, plugin_tables={"jam": {"on_failure": "continue"}}
        )

        error = only(report).error
        assert (report.exit_code, error.sqlstate) == (5, "23505")
        assert "may be committed" not in error.message
        assert jam() == ["fig"]
        assert stored(database)[0][-1] == 1

    def test_after_a_raw_commit_it_is_fatal(self, project, database, jam):
        def after_ddl(conn):
            put(conn, "fig")
            conn.execute("COMMIT")
            yield 1

        report = project.run(plugin(after_ddl=after_ddl, cleanup=lambda conn: put(conn, "plum")))

        assert report.exit_code == 5
        assert "ended the transaction" in only(report).error.message
        assert jam() == ["fig"]
        assert stored(database) == []


class TestResume:
    """``context.resume`` is what was yielded last."""

    def test_without_a_crash_before_it_is_none(self, project, jam):
        told = []

        project.run(plugin(before_ddl=lambda context: told.append(context.resume), after_ddl=fill))

        assert told == [None]

    def test_a_run_after_a_failure_goes_on_from_there(self, project, database, jam):
        def burnt(conn, context):
            for progress in fill(conn, context):
                yield progress
                if progress == {"filled": 2}:
                    put(conn, "lost")
                    raise ValueError("burnt")

        first = project.run(plugin(after_ddl=burnt))
        kept = jam()
        # A hook's progress is its own: by name, as it is reported.
        burnt_no_more = plugin(after_ddl=renamed(fill, burnt))
        second = project.run(burnt_no_more)

        assert (first.exit_code, second.exit_code) == (5, 0)
        assert kept == ["apple", "fig"]
        assert "had committed 2 times; those commits are kept" in only(first).warnings[0]
        assert jam() == list(FRUITS)

    def test_a_retry_after_a_lock_timeout_goes_on_from_there(self, project, second, jam):
        """The statements that were recorded are not run again either."""
        attempts = []

        def before_ddl(context):
            if context.attempt > 1:
                second.execute("ROLLBACK")

        def after_ddl(conn, context):
            attempts.append((context.attempt, context.resume))
            for progress in fill(conn, context):
                yield progress
                if (context.attempt, progress) == (1, {"filled": 2}):
                    second.execute("BEGIN; LOCK TABLE jam")
                    context.set_local("lock_timeout", "20ms")

        report = project.run(plugin(before_ddl=before_ddl, after_ddl=after_ddl))

        assert report.exit_code == 0, only(report).error
        assert attempts == [(1, None), (2, {"filled": 2})]
        assert jam() == list(FRUITS)

    def test_a_run_after_sigkill_goes_on_from_there(self, project, database, jam, tmp_path):
        site = tmp_path / "site"
        info = site / "jam_package-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jam-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[confiture]\njam = jam_plugin\n")
        (site / "jam_plugin.py").write_text(
            "import time\n"
            "from confiture import hookimpl\n"
            "@hookimpl\n"
            "def after_ddl(conn, context):\n"
            "    begin = context.resume or 0\n"
            "    for number in range(begin, 6):\n"
            "        conn.execute('INSERT INTO jam VALUES (%s)', (str(number),))\n"
            "        yield number + 1\n"
            "        if number == begin + 1 and begin < 4:\n"
            "            conn.execute(\"INSERT INTO jam VALUES ('lost')\")\n"
            "            time.sleep(600)\n"
        )
        project.installed.append(site)

        for reached in (2, 4):
            with project.running("run", "--plugins", "jam") as process:
                until(partial(_has_reached, database, reached), "two more yields")
                process.send_signal(signal.SIGKILL)
            assert project.states() == {"1": "unfinished"}
        done = project("run", "--plugins", "jam")

        assert done.code == 0, done.err
        assert jam() == list("012345")
        assert project.states() == {"1": "applied"}

    def test_each_yield_asks_whether_the_migration_lock_is_still_held(self, project, database, jam):
        def after_ddl(conn):
            put(conn, "fig")
            yield 1
            put(conn, "plum")
            database.execute("SELECT pg_terminate_backend(%s, 10000)", (keeper_of(database),))
            yield 2

        def on_error(conn, error):
            put(conn, "on_error")

        report = project.run(plugin(after_ddl=after_ddl, on_error=on_error))

        assert report.exit_code == 6
        assert "migration lock was lost" in only(report).error.message
        assert stored(database)[0][-1] == 1
        assert jam() == ["fig", "on_error"]


class TestWithoutCommits:
    """In a transaction, and in a rehearsal, a yield commits nothing."""

    @pytest.mark.parametrize("up", [NO_TRANSACTION, ""], ids=["no-transaction", "transactional"])
    def test_in_a_rehearsal(self, project, jam, up):
        project.write("1_stall.up.sql", f"{up}CREATE TABLE stall ();")
        seen = []

        def after_ddl(conn, context):
            for _ in fill(conn, context):
                yield
                seen.append(jam())

        report = project.rehearse(plugin(after_ddl=after_ddl))

        assert report.exit_code == 0
        assert only(report).hooks[0].outcome == "kept"
        assert seen == [[], [], [], []]
        assert jam() == []

    def test_in_a_transaction(self, project, database, jam):
        project.write("1_stall.up.sql", "CREATE TABLE stall ();")
        seen = []

        def after_ddl(conn):
            put(conn, "fig")
            yield 1
            seen.append(jam())

        report = project.run(plugin(after_ddl=after_ddl))

        assert report.exit_code == 0
        assert seen == [[]]
        assert jam() == ["fig"]
        assert stored(database) == []

    def test_a_failure_in_a_transaction_undoes_all_of_it(self, project, jam):
        project.write("1_stall.up.sql", "CREATE TABLE stall ();")

        def after_ddl(conn):
            put(conn, "fig")
            yield 1
            raise ValueError("burnt")

        report = project.run(plugin(after_ddl=after_ddl))

        assert report.exit_code == 5
        assert jam() == []
        assert project.states() == {"1": "pending"}

    def test_inside_its_own_transaction_it_fails_there_too(self, project, jam):
        def after_ddl(conn):
            with conn.transaction():
                yield 1

        report = project.rehearse(plugin(after_ddl=after_ddl))

        assert report.exit_code == 5
        assert "yielded inside its own" in only(report).error.message


class TestBesideOthers:
    """Wrappers and settings, across the commits."""

    def test_a_wrapper_guards_what_ran_since_the_last_commit(self, project, jam):
        def wrapping(conn):
            put(conn, "before the first yield")
            yield
            put(conn, "after")
            raise ValueError("burnt")

        def after_ddl(conn):
            put(conn, "fig")
            yield 1
            put(conn, "plum")

        report = project.run(plugin("inner", after_ddl=after_ddl), wrapper(wrapping))

        assert report.exit_code == 5
        assert jam() == ["before the first yield", "fig"]

    def test_a_wrapper_that_ends_well_is_kept(self, project, jam):
        def wrapping(conn):
            put(conn, "before")
            result = yield
            put(conn, "after")
            return result

        report = project.run(plugin("inner", after_ddl=fill), wrapper(wrapping))

        assert report.exit_code == 0, only(report).error
        assert jam() == sorted([*FRUITS, "before", "after"])

    def test_set_local_holds_across_yields_until_the_migrations_end(self, project, jam):
        seen = []

        def setting(conn):
            return conn.execute(
                "SELECT current_setting('work_mem'), current_setting('lock_timeout')"
            ).fetchone()

        def after_ddl(conn, context):
            context.set_local("work_mem", "7MB")
            context.set_local("lock_timeout", "3s")
            for number in range(3):
                yield number
                seen.append(setting(conn))

        project.write("2_next.sql", "CREATE TABLE next AS SELECT current_setting('lock_timeout') AS timeout;")
        report = project.run(
            plugin(after_ddl=after_ddl, cleanup=lambda conn: seen.append(setting(conn))), to="1"
        )

        assert report.exit_code == 0
        assert seen == [("7MB", "3s")] * 4

    def test_a_setting_changed_between_yields_is_put_back_at_the_next(self, project, jam):
        seen = []

        def after_ddl(conn):
            for _ in range(2):
                conn.execute("SET lock_timeout = '1ms'")
                conn.execute("SET LOCAL statement_timeout = '1h'")
                yield
                seen.append(
                    conn.execute(
                        "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
                    ).fetchone()
                )

        report = project.run(plugin(after_ddl=after_ddl))

        assert report.exit_code == 0
        assert seen == [("5s", "0")] * 2
        assert any("changed lock_timeout to '1ms'" in warning for warning in only(report).warnings)

    def test_the_callbacks_of_committed_work_outlive_a_failure_that_is_passed_over(self, project, jam):
        told = []

        def after_ddl(conn, context):
            put(conn, "fig")
            context.on_commit(lambda: told.append("committed"))
            yield 1
            put(conn, "plum")
            context.on_commit(lambda: told.append("lost"))
            raise ValueError("burnt")

        report = project.run(plugin(after_ddl=after_ddl), plugin_tables={"jam": {"on_failure": "continue"}})

        assert report.exit_code == 0
        assert jam() == ["fig"]
        assert told == ["committed"]


def wrapper(function):
    """Return a plugin that wraps the hooks of after_ddl."""
    marked = hookimpl(wrapper=True)(function)
    return LoadedPlugin("outer", "outer-package", "1.0", SimpleNamespace(after_ddl=marked), ("after_ddl",))


def renamed(function, like):
    """Return ``function`` under the name of another: the same hook, mended."""

    def mended(conn, context):
        return (yield from function(conn, context))

    mended.__qualname__ = like.__qualname__
    return mended


def _has_reached(database: psycopg.Connection[Any], progress: int) -> bool:
    if not exists(database, "confiture.hook_progress"):
        return False
    return database.execute("SELECT progress FROM confiture.hook_progress").fetchone() == (progress,)
