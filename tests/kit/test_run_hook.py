"""``confiture.testing.run_hook`` treats a plugin as a run does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pluggy
import psycopg
import pytest

from confiture import HookContext, HookResult, hookimpl
from confiture.exceptions import UsageFault
from confiture.hooks.api import HookError
from confiture.testing import run_hook

Database = psycopg.Connection[Any]


class Jam:
    """A plugin that writes a row and a few notes."""

    def __init__(self) -> None:
        self.called: list[str] = []

    @hookimpl
    def after_ddl(self, conn: Database, context: HookContext) -> HookResult:
        conn.execute("INSERT INTO jam VALUES (%s)", [context.config.get("fruit")])
        context.on_commit(lambda: self.called.append("on_commit"))
        return HookResult("AFTER_DDL", "Jam", rows_affected=1)

    @hookimpl
    def before_ddl(self, conn: Database, context: HookContext) -> None:
        context.set_local("lock_timeout", "3s")

    @hookimpl
    def cleanup(self, conn: Database) -> None:
        conn.execute("INSERT INTO jam VALUES ('burnt')")
        raise ValueError("burnt")

    @hookimpl
    def on_error(self, error: BaseException) -> None:
        self.called.append(str(error))


@pytest.fixture
def jam(database: Database) -> Database:
    database.execute("CREATE TABLE jam (fruit text)")
    return database


def test_what_a_hook_writes_is_committed_and_its_callbacks_are_called(jam: Database, second: Database):
    plugin = Jam()

    (result,) = run_hook(plugin, "after_ddl", conn=jam, config={"fruit": "plum"})

    assert result.rows_affected == 1
    assert second.execute("SELECT fruit FROM jam").fetchall() == [("plum",)]
    assert plugin.called == ["on_commit"]


def test_a_rehearsal_keeps_nothing_and_calls_nobody(jam: Database):
    plugin = Jam()

    (result,) = run_hook(plugin, "after_ddl", conn=jam, context=HookContext("jam", "1", dry_run=True))

    assert result.rows_affected == 1
    assert jam.execute("SELECT fruit FROM jam").fetchall() == []
    assert plugin.called == []


def test_a_failed_hook_is_undone_and_named(jam: Database):
    with pytest.raises(HookError, match=r"hook 'Jam.cleanup' of plugin 'plugin' failed in cleanup: burnt"):
        run_hook(Jam(), "cleanup", conn=jam)

    assert jam.execute("SELECT fruit FROM jam").fetchall() == []


def test_a_failed_hook_goes_by_its_policy(jam: Database):
    assert run_hook(Jam(), "cleanup", conn=jam, config={"on_failure": "continue"}) == []

    assert jam.execute("SELECT fruit FROM jam").fetchall() == []


def test_in_a_transaction_of_the_test_local_settings_can_be_looked_at(jam: Database):
    with jam.transaction():
        run_hook(Jam(), "before_ddl", conn=jam)

        assert jam.execute("SHOW lock_timeout").fetchone() == ("3s",)

    assert jam.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_on_error_is_told_what_went_wrong(jam: Database):
    plugin = Jam()

    run_hook(plugin, "on_error", conn=jam, error=ValueError("burnt"))

    assert plugin.called == ["burnt"]


def test_a_hook_that_there_is_not_is_refused(jam: Database):
    class Misspelt:
        @staticmethod
        @hookimpl
        def after_dll() -> None:
            """Never called."""

    with pytest.raises(pluggy.PluginValidationError, match="after_dll"):
        run_hook(Misspelt(), "after_ddl", conn=jam)


class Batches:
    """A generator hook that notes what it was to go on from, and what others see after each yield."""

    def __init__(self, other: Database, *progress: Any) -> None:
        self.other = other
        self.progress = progress
        self.resumed: list[Any] = []
        self.seen: list[int] = []

    @hookimpl
    def after_ddl(self, conn: Database, context: HookContext) -> Iterator[Any]:
        self.resumed.append(context.resume)
        for item in self.progress:
            conn.execute("INSERT INTO jam VALUES ('plum')")
            yield item
            self.seen += self.other.execute("SELECT count(*) FROM jam").fetchone() or ()


@pytest.mark.parametrize("transactional, seen", [(True, [0, 0]), (False, [1, 2])])
def test_a_yield_commits_outside_a_transaction_only(
    jam: Database, second: Database, transactional: bool, seen: list[int]
):
    plugin = Batches(second, 1, 2)

    run_hook(plugin, "after_ddl", conn=jam, transactional=transactional)

    assert plugin.seen == seen


def test_a_generator_is_told_what_it_yielded_last(jam: Database, second: Database):
    plugin = Batches(second)

    run_hook(plugin, "after_ddl", conn=jam, transactional=False, resume={"key": 7})

    assert plugin.resumed == [{"key": 7}]


def test_what_cannot_be_stored_fails_in_the_test_already(jam: Database, second: Database):
    with pytest.raises(HookError):
        run_hook(Batches(second, {("a", "b"): 1}), "after_ddl", conn=jam, transactional=False)

    assert jam.execute("SELECT fruit FROM jam").fetchall() == []


def test_no_yield_can_commit_the_tests_own_transaction(jam: Database, second: Database):
    with jam.transaction(), pytest.raises(UsageFault, match="needs an idle connection"):
        run_hook(Batches(second, 1), "after_ddl", conn=jam, transactional=False)
