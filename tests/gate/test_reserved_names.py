"""A table may be called like a reserved word: what was seen of it counts as seen."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("table", ["user", "order", "jam"])
def test_max_block_passes_if_the_lock_in_a_guarded_block_was_seen(project, database, table):
    database.execute(f'CREATE TABLE "{table}" (id int)'.encode())
    database.execute(f'INSERT INTO "{table}" VALUES (1)'.encode())
    project.configure('[gate]\nmax_block = "10s"\n')
    project.write(
        "1_lock.sql",
        f'DO $$ BEGIN BEGIN LOCK TABLE "{table}" IN SHARE MODE;'
        " EXCEPTION WHEN lock_not_available THEN NULL; END; END $$;\n",
    )

    answer = project("dry-run")

    assert (answer.code, "not seen" in answer.out) == (0, False), answer.out
