"""What the plugin does, on a real server and inside the real guard."""

from __future__ import annotations

from confiture.testing import run_hook

import confiture_hello


def test_what_the_migration_has_changed_is_measured(confiture_database):
    """The test's open transaction stands for the migration's."""
    with confiture_database.transaction():
        confiture_database.execute("CREATE TABLE jam AS SELECT 'plum' AS fruit")

        (result,) = run_hook(confiture_hello, "after_ddl", conn=confiture_database)

    assert result.stats["relations"] == 1
    assert result.stats["size_bytes"] > 0


def test_a_migration_that_changes_nothing_weighs_nothing(confiture_database):
    """No relation, no bytes."""
    (result,) = run_hook(confiture_hello, "after_ddl", conn=confiture_database)

    assert result.stats == {"relations": 0, "size_bytes": 0}
