"""A folder of another tool is recognized by the names of its files."""

import pytest

from confiture.migrations.other_tools import recognize_tool

FOLDERS = {
    "Prisma": ["migration_lock.toml", "20260101120000_init/migration.sql"],
    "Alembic": ["env.py", "script.py.mako", "versions/ae1027a6acf3_users.py"],
    "Django": ["manage.py", "orders/models.py"],
    "sqitch": ["sqitch.plan", "deploy/users.sql", "revert/users.sql"],
    "Drizzle": ["meta/_journal.json", "0000_init.sql"],
    "Atlas": ["atlas.sum", "20260101_init.sql"],
    "Hasura": ["1700000000000_init/up.sql", "1700000000000_init/down.sql"],
    "Diesel": ["00000000000000_diesel_initial_setup/up.sql", "2026-01-01-000000_users/up.sql"],
    "refinery": ["V1__users.rs"],
    "SeaORM": ["m20220101_000001_create_table.rs", "lib.rs"],
    "Flyway": ["V1__users.sql", "R__views.sql", "V1.2__orders.sql"],
    "yoyo": ["0001.users.sql", "0001.users.rollback.sql"],
    "Liquibase": ["db.changelog-master.yaml", "changes/users.sql"],
    "Laravel": ["2026_01_01_000000_create_users.php"],
    "Phinx": ["20260101000000_users.php"],
    "Rails": ["20260101000000_create_users.rb"],
    "Ecto": ["20260101000000_create_users.exs"],
    "goose": ["00001_users.go"],
    "golang-migrate": ["000001_users.up.sql", "000001_users.down.sql"],
    "TypeORM": ["1700000000000-users.ts"],
    "Sequelize": ["20260101000000-users.js"],
    "Knex": ["20260101000000_users.js"],
    "node-pg-migrate": ["1700000000000_users.js"],
}


@pytest.mark.parametrize("tool", FOLDERS)
def test_each_tool_is_recognized_and_a_file_shows_it(tool):
    found = recognize_tool(reversed(FOLDERS[tool]))

    assert found is not None
    assert found.name == tool
    assert found.evidence in FOLDERS[tool]
    assert "VERSION_name" in found.way or "1_name" in found.way or "confiture adopt --from" in found.way


@pytest.mark.parametrize("names", [[], ["README.md"], ["users.sql"], ["20260101_users.sql"], ["1_a.py"]])
def test_other_files_are_of_no_tool(names):
    assert recognize_tool(names) is None
