"""The wizard in a real terminal: every choice is typed, and the screen is read."""

from __future__ import annotations

import pytest

from tests.project import applied, running, until
from tests.wizard.terminal import Terminal

pytestmark = pytest.mark.slow

# With the blank, which is written once the prompt is being read.
PROMPT = "[q]uit: "


@pytest.fixture(params=[80, 120])
def columns(request) -> int:
    """The width of the terminal: every test runs in a narrow and in a wide one."""
    return int(request.param)


@pytest.fixture
def shop(project, database):
    """A project with a filled table, and two pending migrations: one is risky, one is not."""
    project.write("1_orders.sql", "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);\n")
    assert project("run").code == 0
    database.execute("INSERT INTO orders SELECT g, 'x', g FROM generate_series(1, 1000) g")
    database.execute("ANALYZE orders")
    project.write("2_notes.sql", "CREATE TABLE notes (id int);\n")
    project.write("3_qty.sql", "ALTER TABLE orders DROP COLUMN qty;\n")
    return project


def test_a_card_fits_the_terminal_and_shows_four_risks(shop, columns):
    with Terminal(shop, ("wizard",), columns) as terminal:
        shown = terminal.read_until(PROMPT)
        terminal.type("q\n")
        code = terminal.wait()

    lines = [line for line in shown.splitlines() if line.startswith(("│", "╭", "╰"))]
    assert {len(line) for line in lines} == {columns}
    for aspect in ("compatibility", "data loss", "performance", "locking"):
        assert any(line.startswith(f"│ {aspect} ") for line in lines)
    assert code == 0


def test_stop_applies_nothing(shop, columns, database):
    with Terminal(shop, ("wizard",), columns) as terminal:
        terminal.read_until(PROMPT)
        terminal.type("r\n")
        terminal.read_until(PROMPT)
        terminal.type("q\n")
        terminal.wait()

    assert "stopped: nothing was applied" in terminal.text
    assert applied(database) == ["1"]


def test_preview_and_details_show_and_ask_again(shop, columns):
    with Terminal(shop, ("wizard",), columns) as terminal:
        terminal.read_until(PROMPT)
        terminal.type("p\n")
        preview = terminal.read_until(PROMPT)
        terminal.type("d\n")
        details = terminal.read_until(PROMPT)
        terminal.type("q\n")
        terminal.wait()

    assert "CREATE TABLE notes (id int);" in preview
    assert "✓ rehearsed  2  notes" in details
    assert "1 migration rehearsed in" in details


def test_enter_runs_nothing_and_a_high_risk_wants_the_name(shop, columns, database):
    name = database.info.dbname
    with Terminal(shop, ("wizard",), columns) as terminal:
        terminal.read_until(PROMPT)
        terminal.type("\n")
        terminal.read_until("type one of the letters")
        terminal.read_until(PROMPT)
        terminal.type("r\n")
        terminal.read_until(PROMPT)
        terminal.type("r\n")
        terminal.read_until(f"type the name of the database, {name}, to run it:")
        terminal.type("\n")
        terminal.read_until("not confirmed: it does not run")
        terminal.read_until(PROMPT)
        terminal.type("r\n")
        terminal.read_until("to run it:")
        terminal.type(f"{name}\n")
        terminal.read_until("run 2 migrations")
        terminal.type("\n")
        terminal.wait()
    after_enter = applied(database)
    with Terminal(shop, ("run", "--plan", "confiture-plan.json"), columns) as terminal:
        code = terminal.wait()

    assert after_enter == ["1"]
    assert code == 0
    assert applied(database) == ["1", "2", "3"]


def test_an_approved_session_runs(shop, columns, database):
    with Terminal(shop, ("run", "--interactive"), columns) as terminal:
        terminal.read_until(PROMPT)
        terminal.type("r\n")
        terminal.read_until(PROMPT)
        terminal.type("s\n")
        terminal.read_until("run 1 migration")
        terminal.type("y\n")
        code = terminal.wait()

    assert code == 0, terminal.text
    assert applied(database) == ["1", "2"]


def test_save_writes_what_was_approved_so_far(shop, columns, database):
    with Terminal(shop, ("wizard",), columns) as terminal:
        terminal.read_until(PROMPT)
        terminal.type("r\n")
        terminal.read_until(PROMPT)
        terminal.type("v\n")
        terminal.wait()

    assert "run it: confiture run --plan confiture-plan.json" in terminal.text
    assert '"skipped": [\n    "3"' in (shop.folder / "confiture-plan.json").read_text()
    assert applied(database) == ["1"]


def test_a_split_is_rehearsed_offered_and_written(shop, columns, database):
    shop.write("2_notes.sql", "CREATE INDEX orders_qty ON orders (qty);\n")
    (shop.migrations / "3_qty.sql").unlink()
    with Terminal(shop, ("wizard",), columns) as terminal:
        card = terminal.read_until(PROMPT)
        terminal.type("w\n")
        terminal.read_until("wrote 2_notes.sql")
        terminal.read_until(PROMPT)
        terminal.type("r\n")
        terminal.read_until("run 1 migration")
        terminal.type("y\n")
        code = terminal.wait()

    assert "no long block" in card
    assert "[w]rite the split" in card
    assert code == 0, terminal.text
    assert applied(database) == ["1", "2"]


def test_ctrl_c_at_a_prompt_applies_nothing(shop, columns, database):
    with Terminal(shop, ("wizard",), columns) as terminal:
        terminal.read_until(PROMPT)
        code = terminal.interrupt()

    assert code == 130
    assert "Traceback" not in terminal.text
    assert applied(database) == ["1"]


def test_ctrl_c_in_the_middle_of_a_plan_keeps_what_was_applied_and_says_where(shop, columns, database):
    shop.write(
        "3_qty.sql", "-- confiture: lock_timeout=0\nCREATE TABLE jars ();\nSELECT pg_advisory_lock(7);\n"
    )
    shop.write("4_more.sql", "CREATE TABLE more (id int);\n")
    assert shop("wizard", "--choose", "all=run", "--no-apply").code == 0
    database.execute("SELECT pg_advisory_lock(7)")

    with Terminal(shop, ("run", "--plan", "confiture-plan.json"), columns) as terminal:
        terminal.read_until("2 notes: applied")
        until(running(database, "pg_advisory_lock(7)"), "the second migration")
        terminal.read_until("3 qty")
        terminal.type("\x03")
        code = terminal.wait()
    after = applied(database)
    database.execute("SELECT pg_advisory_unlock(7)")
    went_on = shop("run", "--plan", "confiture-plan.json")

    assert code == 130
    assert "Traceback" not in terminal.text
    assert "interrupted, rolled back; applied before: 2 notes" in terminal.text
    assert after == ["1", "2"]
    assert went_on.code == 0, went_on.err
    assert "confiture-plan.json was interrupted: 1 of its 3 migrations was applied before" in went_on.out
    assert applied(database) == ["1", "2", "3", "4"]


def test_a_session_in_the_way_is_named(shop, columns, second):
    shop.write("2_notes.sql", "ALTER TABLE orders ADD COLUMN more int;\n")
    second.execute("SET application_name = 'report'")
    with second.transaction():
        second.execute("SELECT 1 FROM orders LIMIT 1")
        with Terminal(shop, ("wizard", "--in", "embedded"), columns) as terminal:
            card = terminal.read_until(PROMPT)
            terminal.type("q\n")
            terminal.wait()

    assert "(report)" in card
    assert "AccessShareLock" in card
