"""A backfill that commits its batches says how far it is: while it runs, and where Ctrl-C has stopped it."""

from __future__ import annotations

import re

import pytest

from confiture.rules.parse_tree import QualifiedName
from confiture.rules.recipes import NO_TRANSACTION, write_backfill
from tests.project import applied
from tests.wizard.terminal import Terminal

FAR = "orders: 20,000 rows of about 25,000"


@pytest.fixture
def shop(project, database):
    """A project whose pending migration is the backfill of a split, in three batches."""
    database.execute(
        "CREATE TABLE orders AS SELECT g AS id, NULL::int AS qty FROM generate_series(1, 25000) g"
    )
    database.execute("ANALYZE orders")
    fill = write_backfill(QualifiedName(None, "orders"), "qty", "1").text
    project.write("1_fill.sql", f"{NO_TRANSACTION}\n{fill}\n")
    project.configure('lock_timeout = "0"\n')
    return project


@pytest.mark.slow
def test_a_terminal_shows_how_far_it_is_and_ctrl_c_says_where_it_stops(shop, database, second):
    plan = ("run", "--plan", "confiture-plan.json")
    saved = shop("wizard", "--choose", "all=run", "--database", database.info.dbname, "--no-apply")
    second.execute("BEGIN; SELECT 1 FROM orders WHERE id = 25000 FOR UPDATE")

    with Terminal(shop, plan, 120) as terminal:
        terminal.read_until("1 fill: up, ")
        terminal.read_until("line 2: DO $backfill$")
        terminal.read_until(FAR)
        terminal.read_until("waits for pid")
        terminal.type("\x03")
        code = terminal.wait()
    second.execute("ROLLBACK")
    committed = database.execute("SELECT count(qty) FROM orders").fetchone()
    refused = shop(*plan)
    answered = shop("repair", "--again", "1:2")
    went_on = shop(*plan)

    last = " ".join(terminal.text.split())
    assert saved.code == 0, saved.err
    assert code == 130
    assert committed == (20_000,)
    assert "line 2 may be committed, whole or in part" in last
    assert last.endswith(f"its last message: {FAR}; next: confiture repair 1")
    assert refused.code == 7
    assert "confiture repair --again 1:2" in refused.err
    assert answered.code == 0, answered.err
    assert went_on.code == 0, went_on.err
    assert applied(database) == ["1"]
    assert database.execute("SELECT count(*) FROM orders WHERE qty IS NULL").fetchone() == (0,)


@pytest.mark.slow
def test_a_terminal_shows_how_far_a_plugin_is(project):
    project.install(
        "jam",
        """from confiture import hookimpl

@hookimpl
def after_ddl(conn, context):
    yield 1
    conn.execute("SELECT pg_sleep(1.4)")
    context.log.info("jam.progressed", rows=3)
    conn.execute("SELECT pg_sleep(0.4)")
    context.log.info("jam.cooled")
""",
    )
    project.write("1_jam.sql", f"{NO_TRANSACTION}\nSELECT 1;\n")

    with Terminal(project, ("run", "--plugins", "jam"), 120) as terminal:
        terminal.read_until("1 jam: after_ddl, ")
        terminal.read_until("of plugin 'jam' has committed 1 time")
        terminal.read_until("jam: rows=3")
        code = terminal.wait()

    assert code == 0, terminal.text
    assert "jam.progressed" not in terminal.text


def test_elsewhere_nothing_of_it_is_shown_unasked(shop):
    quiet = shop("run")

    assert quiet.code == 0, quiet.err
    assert "rows of about" not in quiet.err + quiet.out


def test_a_table_that_was_never_analyzed_has_no_total(shop, database):
    database.execute('CREATE TABLE "50% off\'s" AS SELECT 1 AS id, NULL::int AS qty')
    fill = write_backfill(QualifiedName(None, "50% off's"), "qty", "1", may_be_null=True).text
    shop.write("1_fill.sql", f"{NO_TRANSACTION}\n{fill}\n")

    said = shop("run", "-v").out

    assert re.search(r"notice of line 2: \"50% off's\": 1 rows\n", said)
