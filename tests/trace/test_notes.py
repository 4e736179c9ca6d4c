"""What a rehearsal in a transaction says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from confiture import HookContext
from confiture.api import operations
from tests.project import Project, plugin

pytestmark = pytest.mark.slow


def notes(project: Project) -> str:
    return " | ".join(project.rehearse().notes)


def test_it_says_whom_it_kept_waiting_until_the_plans_end(project: Project) -> None:
    project.write("1_it.sql", "ALTER TABLE orders ADD x int;")
    project.write("2_it.sql", "SELECT pg_sleep(0.3);")

    report = project.rehearse()

    (lock,) = report.migrations[0].locks
    note = next(note for note in report.notes if "public.orders" in note)
    assert note.startswith("this rehearsal itself blocked public.orders for up to ")
    blocked_ms = int(note.split("for up to ")[1].split(" ms")[0])
    assert blocked_ms >= 300 > (lock.held_ms or 0) - 300


def test_it_says_nothing_where_nobody_could_have_waited(project: Project) -> None:
    project.write("1_it.sql", "CREATE TABLE fresh (id int);")

    assert "itself blocked" not in notes(project)


@pytest.mark.parametrize("when", ["now()", "CURRENT_TIMESTAMP", "transaction_timestamp ()"])
def test_it_says_that_all_migrations_had_one_now(project: Project, when: str) -> None:
    project.write("1_it.sql", f"CREATE TABLE a (at timestamptz); INSERT INTO a SELECT {when};")
    project.write("2_it.sql", "SELECT 1;")

    assert "now() was the same for all migrations" in notes(project)


def test_one_migration_has_its_own_now(project: Project) -> None:
    project.write("1_it.sql", "SELECT now();")

    assert "now()" not in notes(project)


def test_it_says_what_it_cannot_see_of_hooks(project: Project) -> None:
    project.write("1_it.sql", "ALTER TABLE orders ADD x int;")
    project.write("2_it.sql", "SELECT 1;")

    report = project.rehearse(plugin(after_ddl=lambda conn: conn.execute("SELECT 1") and None))

    assert any("a hook's LOCK does not show" in note for note in report.notes)
    assert [migration.not_seen for migration in report.migrations] == [(), ()]


def test_ddl_of_a_hook_on_what_is_held_already_is_said_not_to_be_seen(project: Project) -> None:
    def alter(conn: psycopg.Connection[Any], context: HookContext) -> None:
        conn.execute(f"ALTER TABLE orders ADD y{context.migration_version} int")

    project.write("1_it.sql", "ALTER TABLE orders ADD x int;")
    project.write("2_it.sql", "SELECT 1;")

    _, second = project.rehearse(plugin(after_ddl=alter)).migrations

    assert [unseen.what for unseen in second.not_seen] == ["locks of hooks"]


def test_a_copy_keeps_nobody_waiting(project: Project, tmp_path: Path) -> None:
    project.write("1_it.sql", "CREATE TABLE fresh (at timestamptz DEFAULT now());")
    project.write("2_it.sql", "SELECT now();")

    report = operations.run(project.settings(), dry_run=True, place="embedded")

    assert not any("itself blocked" in note or "now()" in note for note in report.notes)
