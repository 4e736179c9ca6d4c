"""Tests of the plugin, on a real server and in a savepoint, as in a run."""

from __future__ import annotations

from confiture.testing import run_hook

import confiture_hello


def test_a_new_table_is_measured(confiture_database):
    """The open transaction of the test acts as the migration."""
    with confiture_database.transaction():
        confiture_database.execute("CREATE TABLE jam AS SELECT 'plum' AS fruit")

        (result,) = run_hook(confiture_hello, "after_ddl", conn=confiture_database)

    assert result.stats["relations"] == 1
    assert result.stats["size_bytes"] > 0


def test_a_migration_that_changes_nothing_has_no_size(confiture_database):
    """The hook reports no relation and no bytes."""
    (result,) = run_hook(confiture_hello, "after_ddl", conn=confiture_database)

    assert result.stats == {"relations": 0, "size_bytes": 0}
