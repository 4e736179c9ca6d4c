"""A suggested profile names what it recognized, shows no value, and leaves the rest to be decided."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import psycopg

from tests.in_process import Output, run_in_process

Database = psycopg.Connection[Any]


def suggest(folder: Path, url: str) -> Output:
    return run_in_process(["anonymize", "suggest", "--url", url], folder=folder, environ={})


def test_names_types_comments_and_a_sample_are_recognized(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    database.execute(
        """CREATE TABLE people (id bigint PRIMARY KEY, email text, a text, b text, c text, d text, born date,
            colour text, paid boolean, remark_of_nurse text);
        COMMENT ON COLUMN people.remark_of_nurse IS 'free notes';
        INSERT INTO people (id, a, b, c, d, colour) SELECT n, 'x' || n || '@real-host.test',
            '4111111111111111', 'DE89370400440532013000', '10.9.8.' || n, 'green'
        FROM generate_series(1, 20) AS n"""
    )

    suggested = suggest(tmp_path, database_url)

    assert suggested.code == 0, suggested.err
    assert tomllib.loads(suggested.out)["anonymize"]["profiles"]["qa"]["columns"] == {
        "people.email": "email",
        "people.a": "email",
        "people.b": {"strategy": "pattern", "check": "luhn"},
        "people.c": {"strategy": "pattern", "check": "iban"},
        "people.d": "hash",
        "people.born": "date_shift",
        "people.remark_of_nurse": "redact",
    }
    assert '# "people.colour" = ' in suggested.out
    assert not [word for word in ("real-host", "4111", "DE89", "10.9", "green") if word in suggested.out]


def test_a_column_that_nobody_recognized_has_to_be_decided(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    database.execute("CREATE TABLE people (colour text)")

    suggested = suggest(tmp_path, database_url)

    assert tomllib.loads(suggested.out)["anonymize"]["profiles"]["qa"]["columns"] == {}
    assert "text, nothing recognized: decide" in suggested.out
