"""A migration that adds a personal column which nobody classified is refused with the line to add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.in_process import Output, run_in_process

Database = psycopg.Connection[Any]
PROFILE = '[anonymize.profiles.qa.columns]\n"people.email" = "email"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "confiture.toml").write_text(PROFILE)
    (tmp_path / "migrations" / "1_people.sql").write_text("CREATE TABLE people (id int, email text);")
    return tmp_path


def run(folder: Path, url: str, *flags: str) -> Output:
    arguments = ["run", "--url", url, "--plugins", "anonymize", *flags]
    return run_in_process(arguments, folder=folder, environ={})


def test_a_new_personal_column_without_a_rule_fails_with_the_line_to_add(
    folder: Path, database: Database, database_url: str
) -> None:
    (folder / "migrations" / "2_phone.sql").write_text("ALTER TABLE people ADD COLUMN phone text;")

    refused = run(folder, database_url)

    assert refused.code == 5
    assert '"people.phone" = "phone"' in refused.err + refused.out
    columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'people'::regclass AND attnum > 0"
    assert database.execute(columns).fetchall() == [("id",), ("email",)]


def test_a_rehearsal_notices_it_too(folder: Path, database: Database, database_url: str) -> None:
    (folder / "migrations" / "2_phone.sql").write_text("ALTER TABLE people ADD COLUMN phone text;")

    assert run(folder, database_url, "--dry-run").code == 5


@pytest.mark.parametrize(
    "column", ["phone text", "birth_year int", "born date", "content jsonb", "photo bytea"]
)
def test_a_column_that_can_be_personal_is_noticed(
    folder: Path, database: Database, database_url: str, column: str
) -> None:
    (folder / "migrations" / "2_more.sql").write_text(f"ALTER TABLE people ADD COLUMN {column};")

    assert run(folder, database_url).code == 5


@pytest.mark.parametrize("column", ["paid boolean", "order_id bigint", "key uuid", "cents numeric(9,2)"])
def test_a_column_that_cannot_be_personal_passes(
    folder: Path, database: Database, database_url: str, column: str
) -> None:
    (folder / "migrations" / "2_more.sql").write_text(f"ALTER TABLE people ADD COLUMN {column};")

    assert run(folder, database_url).code == 0


def test_a_column_that_was_there_before_does_not_stop_another_migration(
    folder: Path, database: Database, database_url: str
) -> None:
    database.execute("CREATE TABLE old (email text)")

    ran = run(folder, database_url)

    assert ran.code == 0, ran.err


def test_without_a_profile_nothing_is_refused(folder: Path, database: Database, database_url: str) -> None:
    (folder / "confiture.toml").write_text("")

    assert run(folder, database_url).code == 0
