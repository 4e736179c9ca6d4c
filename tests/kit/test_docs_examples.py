"""The hooks that the docs show do what the docs say, when they are typed in as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from confiture import HookContext
from confiture.core import HookError
from confiture.testing import run_hook

DOCS = Path(__file__).parents[2] / "docs"


def source(page: str) -> str:
    """Return the first Python example of a page."""
    found = re.search(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)
    assert found, page
    return found[1]


def plugin_of(code: str) -> ModuleType:
    """Return a plugin of that code."""
    module = ModuleType("typed_in")
    exec(compile(code, "typed_in.py", "exec"), vars(module))
    return module


def example(page: str) -> ModuleType:
    """Return the first Python example of a page as a plugin."""
    return plugin_of(source(page))


def test_set_local_holds_in_the_migration_and_no_longer(confiture_database):
    with confiture_database.transaction():
        run_hook(example("settings.md"), "before_ddl", conn=confiture_database)
        during = confiture_database.execute("SHOW lock_timeout").fetchone()

    assert during == ("3s",)
    assert confiture_database.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_what_may_fail_in_a_block_of_its_own_does_not_fail_the_hook(confiture_database):
    """There is no such view, and the hook says so and returns."""
    with confiture_database.transaction():
        confiture_database.execute("CREATE TABLE jam ()")
        run_hook(example("failures.md"), "after_ddl", conn=confiture_database)

    assert confiture_database.execute("SELECT to_regclass('jam')::text").fetchone() == ("jam",)


def test_the_same_without_the_block_is_a_failed_hook(confiture_database):
    """It catches the error and returns, with the transaction in error."""
    plugin = plugin_of(source("failures.md").replace("with conn.transaction():", "if True:"))

    with pytest.raises(HookError, match="it caught an SQL error"):
        run_hook(plugin, "after_ddl", conn=confiture_database)


@pytest.fixture
def orders(confiture_database):
    """2,500 orders: two batches and a half."""
    confiture_database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, cents int, total numeric)")
    confiture_database.execute("INSERT INTO orders SELECT n, n * 100 FROM generate_series(1, 2500) n")
    return confiture_database


def totals(conn) -> tuple[int, int]:
    """Return how many orders have their total, and how many have not."""
    count = "SELECT count(*) FILTER (WHERE total = id), count(*) FILTER (WHERE total IS NULL) FROM orders"
    filled: tuple[int, int] = conn.execute(count).fetchone()
    return filled


def test_a_generator_fills_every_row_batch_by_batch(orders):
    run_hook(example("generators.md"), "after_ddl", conn=orders)

    assert totals(orders) == (2500, 0)


def test_a_generator_begins_behind_what_it_yielded_last(orders):
    run_hook(example("generators.md"), "after_ddl", conn=orders, transactional=False, resume=2000)

    assert totals(orders) == (500, 2000)


def test_a_generator_keeps_the_batches_that_it_had_yielded_when_it_failed(orders):
    """The second batch meets a row that it may not change."""
    orders.execute("ALTER TABLE orders ADD CHECK (total < 1500)")

    with pytest.raises(HookError, match="orders_total_check"):
        run_hook(example("generators.md"), "after_ddl", conn=orders, transactional=False)

    assert totals(orders) == (1000, 1500)


def test_in_a_transaction_the_same_failure_keeps_nothing(orders):
    orders.execute("ALTER TABLE orders ADD CHECK (total < 1500)")

    with pytest.raises(HookError, match="orders_total_check"):
        run_hook(example("generators.md"), "after_ddl", conn=orders)

    assert totals(orders) == (0, 2500)


def test_a_generator_keeps_nothing_in_a_rehearsal(orders):
    run_hook(
        example("generators.md"), "after_ddl", conn=orders, context=HookContext("orders", "1", dry_run=True)
    )

    assert totals(orders) == (0, 2500)
