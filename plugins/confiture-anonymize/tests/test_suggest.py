"""A suggested profile names what it recognized, shows no value, and leaves the rest to be decided."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import psycopg
import pytest
from faker import Faker

from confiture_anonymize.detect_values import detect
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


def test_numbers_of_cards_and_addresses_are_recognized_in_other_types_too(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    database.execute(
        """CREATE TABLE people (id bigint PRIMARY KEY, a bigint, b inet, c jsonb);
        INSERT INTO people SELECT n, 4111111111111111, '10.9.8.1', '{"to": "x@real-host.test"}'
        FROM generate_series(1, 20) AS n"""
    )

    suggested = suggest(tmp_path, database_url)

    assert tomllib.loads(suggested.out)["anonymize"]["profiles"]["qa"]["columns"] == {
        "people.a": "hash",
        "people.b": "hash",
        "people.c": {"strategy": "fixed", "value": "{}"},
    }


def make_values(locale: str, provide: str) -> list[str]:
    faker = Faker(locale)
    faker.seed_instance(16)
    return [str(getattr(faker, provide)()) for _ in range(60)]


@pytest.mark.parametrize(
    "locale, provide, words",
    [
        ("fr_FR", "ssn", "national numbers"),
        ("es_ES", "nif", "national numbers"),
        ("es_ES", "nie", "national numbers"),
        ("nl_NL", "ssn", "national numbers"),
        ("pl_PL", "ssn", "national numbers"),
        ("nl_BE", "ssn", "national numbers"),
        ("it_IT", "ssn", "national numbers"),
        ("sv_SE", "ssn", "national numbers"),
        ("no_NO", "ssn", "national numbers"),
        ("fi_FI", "ssn", "national numbers"),
        ("pt_BR", "cpf", "national numbers"),
        ("en_US", "ssn", "national numbers"),
        ("en_US", "credit_card_number", "card numbers"),
        ("de_DE", "iban", "IBANs"),
        ("en_US", "ipv4", "IP addresses"),
        ("en_US", "ipv6", "IP addresses"),
        ("de_DE", "phone_number", "phone numbers"),
        ("fr_FR", "email", "e-mail addresses"),
        ("de_DE", "first_name", "first names"),
        ("it_IT", "first_name", "first names"),
        ("pl_PL", "last_name", "last names"),
        ("es_ES", "name", "names"),
        ("en_US", "name", "names"),
        ("sv_SE", "name", "names"),
        ("en_US", "word", None),
        ("en_US", "sentence", None),
        ("en_US", "country_code", None),
        ("en_US", "currency_code", None),
        ("en_US", "color_name", None),
        ("en_US", "uuid4", None),
        ("en_US", "date", None),
    ],
)
def test_what_a_column_holds_is_told_from_its_values(locale: str, provide: str, words: str | None) -> None:
    detected = detect(make_values(locale, provide))

    assert (detected[0] if detected else None) == words


@pytest.mark.parametrize("digits", [9, 11, 16])
def test_numbers_without_the_check_digits_are_not_taken_for_those_of_people(digits: int) -> None:
    numbers = [f"{number * 7919 + 12345:0{digits}}"[-digits:] for number in range(1_000_000, 1_000_200)]

    assert (detect(numbers, "integer") or ("",))[0] == ""


def test_a_column_that_nobody_recognized_has_to_be_decided(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    database.execute("CREATE TABLE people (colour text)")

    suggested = suggest(tmp_path, database_url)

    assert tomllib.loads(suggested.out)["anonymize"]["profiles"]["qa"]["columns"] == {}
    assert "text, nothing recognized: decide" in suggested.out
