"""Each row of *Hooks and their guard*: run, rehearsal and down, SQL and Python, plugins and own lists."""

from __future__ import annotations

from typing import Any

import psycopg

from confiture import HookResult
from tests.hooks.ways import spread_over_ways

LOST = spread_over_ways(
    "lose",
    [
        lambda conn: conn.close(),
        lambda conn: conn.pgconn.finish(),
        lambda conn: conn.execute("SELECT pg_terminate_backend(pg_backend_pid())"),
    ],
    ids=["close", "finish", "terminated"],
)
ENDED = spread_over_ways(
    "statement", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN", "ROLLBACK; BEGIN", "COMMIT AND CHAIN"]
)


def fig(conn: Any) -> None:
    conn.execute("INSERT INTO jam VALUES ('fig')")


def test_a_hook_that_returns_none_is_kept(scene, jam):
    migration = scene.play(lambda conn, context: fig(conn))

    assert migration.outcome in ("applied", "rehearsed", "reverted")
    assert [hook.outcome for hook in migration.hooks] == ["kept"]
    assert jam() == (["fig"] if scene.way.keeps else [])
    assert scene.changed is scene.way.keeps
    assert scene.recorded is scene.way.keeps


def test_a_hook_that_returns_a_result_is_kept_and_reported(scene, jam):
    def fill(conn, context):
        fig(conn)
        return HookResult(phase="AFTER_DDL", hook_name="Fill", rows_affected=1, stats={"fruits": 1})

    migration = scene.play(fill)

    (hook,) = migration.hooks
    assert (hook.phase, hook.hook, hook.outcome) == ("after_ddl", "Fill", "kept")
    assert (hook.rows_affected, hook.stats) == (1, {"fruits": 1})
    assert hook.plugin == (None if scene.way.own else "scene")
    assert jam() == (["fig"] if scene.way.keeps else [])


def test_the_row_count_of_a_hook_that_changes_none_is_zero(scene, jam):
    def index(conn, context):
        rows = conn.execute("CREATE INDEX by_fruit ON jam (fruit)").rowcount
        return HookResult(phase="AFTER_DDL", hook_name="Index", rows_affected=rows)

    migration = scene.play(index)

    assert [(hook.outcome, hook.rows_affected) for hook in migration.hooks] == [("kept", 0)]


def test_a_hook_that_returns_something_else_has_failed(scene, jam):
    def seven(conn, context):
        fig(conn)
        return 7

    report = scene.report(seven)

    assert report.exit_code == 5
    assert "returned int" in report.migrations[0].error.message
    assert jam() == []


@spread_over_ways(
    "error",
    [ValueError("burnt"), SystemExit(0), psycopg.OperationalError("burnt")],
    ids=["error", "exit", "server"],
)
def test_a_hook_that_raises_is_undone_and_stops_the_migration_with_5(scene, jam, error):
    def burn(conn, context):
        fig(conn)
        raise error

    report = scene.report(burn)

    (migration,) = report.migrations
    assert (report.exit_code, migration.outcome) == (5, "failed")
    assert [hook.outcome for hook in migration.hooks] == ["undone"]
    assert migration.error.phase == "after_ddl"
    assert jam() == []
    assert not scene.recorded


def test_a_failed_hook_of_a_transactional_migration_undoes_it(scene, jam):
    def burn(conn, context):
        raise ValueError("burnt")

    scene.report(burn)

    # Without a transaction the statements were committed one by one, before the hook.
    assert scene.changed is (scene.way.keeps and not scene.way.transactional)


def test_a_hook_that_catches_an_sql_error_and_returns_has_failed(scene, jam):
    def swallow(conn, context):
        fig(conn)
        try:
            conn.execute("SELECT 1/0")
        except psycopg.Error:
            return

    report = scene.report(swallow)

    assert report.exit_code == 5
    assert "caught an SQL error" in report.migrations[0].error.message
    assert jam() == []


def test_a_hook_that_undoes_an_sql_error_in_a_transaction_block_is_kept(scene, jam):
    def careful(conn, context):
        fig(conn)
        try:
            with conn.transaction():
                conn.execute("SELECT 1/0")
        except psycopg.Error:
            return

    report = scene.report(careful)

    assert report.exit_code == 0
    assert jam() == (["fig"] if scene.way.keeps else [])


def test_a_hook_that_raises_rollback_is_undone_and_the_migration_goes_on(scene, jam):
    def undo(conn, context):
        fig(conn)
        raise psycopg.Rollback

    report = scene.report(undo)

    (migration,) = report.migrations
    assert report.exit_code == 0
    assert [hook.outcome for hook in migration.hooks] == ["undone"]
    assert migration.warnings == ()
    assert jam() == []
    assert scene.recorded is scene.way.keeps


@spread_over_ways(
    "misuse",
    [
        lambda conn: conn.commit(),
        lambda conn: conn.rollback(),
        lambda conn: setattr(conn, "autocommit", False),
        lambda conn: setattr(conn, "autocommit", True),
    ],
    ids=["commit", "rollback", "autocommit off", "autocommit on"],
)
def test_commit_rollback_and_autocommit_are_refused_hence_raise(scene, jam, misuse):
    def end(conn, context):
        fig(conn)
        misuse(conn)

    report = scene.report(end)

    assert report.exit_code == 5
    assert "may be committed" not in report.migrations[0].error.message
    assert jam() == []
    assert not scene.recorded


@LOST
def test_a_hook_that_closes_or_loses_the_connection_has_failed_with_5(scene, jam, lose):
    def cut(conn, context):
        fig(conn)
        lose(conn)

    report = scene.report(cut)

    assert report.exit_code == 5
    assert "the connection" in report.migrations[0].error.message
    assert [hook.outcome for hook in report.migrations[0].hooks] == ["undone"]
    assert jam() == []
    assert not scene.recorded


def test_a_hook_that_lost_the_connection_and_did_not_notice_has_failed_with_5(scene, jam, second):
    def unlucky(conn, context):
        fig(conn)
        # Waits for its end.
        second.execute("SELECT pg_terminate_backend(%s, 10000)", (conn.info.backend_pid,))

    report = scene.report(unlucky)

    assert report.exit_code == 5
    assert "the connection was lost" in report.migrations[0].error.message
    assert jam() == []


@ENDED
def test_raw_transaction_control_is_detected_and_said(scene, statement):
    report = scene.report(lambda conn, context: conn.execute(statement) and None)

    (migration,) = report.migrations
    assert report.exit_code == 5
    assert "ended the transaction" in migration.error.message
    assert "migration 1 stalls" in migration.error.message
    assert "may be committed" in migration.error.message
    assert migration.error.hook in migration.error.message
    assert not scene.recorded


@ENDED
def test_raw_transaction_control_is_detected_when_the_hook_raises_too(scene, statement):
    def end(conn, context):
        conn.execute(statement)
        raise psycopg.Rollback

    report = scene.report(end)

    assert report.exit_code == 5
    assert "may be committed" in report.migrations[0].error.message
    assert not scene.recorded


@spread_over_ways("hold", ["", "WITH HOLD"], ids=["plain", "hold"])
def test_cursors_left_open_are_closed(scene, hold):
    left = []

    def look(conn, context):
        left.append(conn.execute("SELECT name FROM pg_cursors WHERE name <> ''").fetchall())

    def declare(conn, context):
        conn.execute(f"DECLARE pot CURSOR {hold} FOR SELECT 1")

    scene.project.plugin("looker", after_validation=look)
    scene.play(declare)

    # Two looks if the migration was first applied without the hook.
    assert set(map(tuple, left)) == {()}
