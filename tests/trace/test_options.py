"""``--explain`` and ``--repeat``."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from attrs import evolve

from confiture.api import operations
from confiture.models.report import Report
from tests.project import Project

DML = """
    UPDATE orders SET note = 'x' WHERE id <= 100;
    INSERT INTO empty SELECT id FROM orders WHERE id <= 7 ON CONFLICT DO NOTHING;
    INSERT INTO empty SELECT id FROM orders WHERE id <= 9 ON CONFLICT DO NOTHING;
    DELETE FROM orders WHERE id > 490;
    WITH gone AS (DELETE FROM customers WHERE id <= 3 RETURNING id) SELECT count(*) FROM gone;
    ALTER TABLE orders ADD x int;
"""


def explained(project: Project) -> Report:
    return operations.run(project.settings(), dry_run=True, explain=True)


@pytest.fixture
def plain(project: Project, database: psycopg.Connection[Any]) -> Project:
    """The same project for a role that may not load auto_explain."""
    name = f"plain_{database.info.dbname}"
    database.execute(
        f"CREATE ROLE {name} LOGIN; GRANT ALL ON SCHEMA public TO {name}; "
        f"GRANT CREATE ON DATABASE {database.info.dbname} TO {name}; "
        f"ALTER TABLE orders OWNER TO {name}; ALTER TABLE customers OWNER TO {name}; "
        f"ALTER TABLE empty OWNER TO {name}"
    )
    return evolve(project, url=psycopg.conninfo.make_conninfo(project.url, user=name))


@pytest.mark.parametrize("role", ["superuser", "plain"])
def test_dml_has_the_plan_of_the_execution_that_counts(
    project: Project, role: str, request: pytest.FixtureRequest
) -> None:
    who = project if role == "superuser" else request.getfixturevalue("plain")
    who.write("1_it.sql", DML)

    (migration,) = explained(who).migrations

    assert migration.outcome == "rehearsed", migration.error
    assert [statement.rows for statement in migration.statements] == [100, 7, 2, 10, None, None]
    tops = [
        statement.plan[0]["Plan"]["Node Type"] if statement.plan else None
        for statement in migration.statements
    ]
    assert tops == ["ModifyTable"] * 4 + ["Aggregate", None]
    first = migration.statements[0].plan[0]["Plan"]
    assert {"Actual Rows", "Shared Hit Blocks", "WAL Records"} <= first.keys()


def test_a_python_migration_gets_its_rows_and_its_plan(project: Project) -> None:
    project.write(
        "1_it.py",
        """
        from confiture.models.migration import Migration

        class It(Migration):
            def up(self):
                got = self.execute("UPDATE orders SET note = %s WHERE id <= 3 RETURNING id", ("x",))
                assert [id for (id,) in got] == [1, 2, 3]
        """,
    )

    (migration,) = explained(project).migrations

    assert migration.statements[0].rows == 3
    assert migration.statements[0].plan[0]["Plan"]["Node Type"] == "ModifyTable"


def test_without_explain_there_is_no_plan(project: Project) -> None:
    project.write("1_it.sql", DML)

    (migration,) = project.rehearse().migrations

    assert [statement.plan for statement in migration.statements] == [None] * 6


def test_a_repeated_rehearsal_tells_the_spread(project: Project) -> None:
    project.write("1_it.sql", "ALTER TABLE orders ADD x int; SELECT nextval('s');")
    with psycopg.connect(project.url) as conn:
        conn.execute("CREATE SEQUENCE s")

    report = operations.run(project.settings(), dry_run=True, repeat=3)

    (migration,) = report.migrations
    for each in (migration, migration.statements[0]):
        assert each.spread is not None
        assert each.spread.runs == 3
        for times in (each.spread.duration_ms, each.spread.held_ms):
            assert times is not None
            assert list(times) == sorted(times)
    assert migration.spread is not None
    assert migration.spread.duration_ms is not None
    assert migration.spread.duration_ms[1] == migration.duration_ms
    assert "public.s" in [residue_item.relation for residue_item in report.residue]


def test_a_failure_ends_the_repeating(project: Project) -> None:
    project.write("1_it.sql", "CREATE SEQUENCE IF NOT EXISTS counted; SELECT 1 / 0;")

    report = operations.run(project.settings(), dry_run=True, repeat=5)

    assert report.migrations[0].outcome == "failed"
    assert report.migrations[0].spread is None


def test_the_command_takes_both(project: Project) -> None:
    project.write("1_it.sql", DML)

    done = project("dry-run", "--explain", "--repeat", "2", "--output", "json=report.json")
    report = json.loads((project.folder / "report.json").read_text())

    assert done.code == 0, done.err
    assert "of 2 rehearsals: took" in done.out
    (migration,) = report["migrations"]
    assert migration["spread"]["runs"] == 2
    assert migration["statements"][0]["plan"][0]["Plan"]["Node Type"] == "ModifyTable"


@pytest.mark.parametrize("words", [["--explain"], ["--repeat", "2"], ["--in", "clone"]])
def test_a_run_refuses_what_is_for_a_rehearsal(project: Project, words: list[str]) -> None:
    project.write("1_it.sql", "SELECT 1;")

    done = project("run", *words)

    assert done.code == 2
    assert f"{words[0]} is for a rehearsal: add --dry-run" in done.err
