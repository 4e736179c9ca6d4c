"""What each strategy makes of a value, in the server and here."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import psycopg
import pytest

from confiture_anonymize import strategy
from confiture_anonymize.check_digits import is_iban, is_luhn
from confiture_anonymize.errors import ProfileFault
from confiture_anonymize.keyed_hash import Key, read_key, render_digest
from confiture_anonymize.permutation import NumberMask, ShapeMask, rotate
from tests.anonymized_shop import Shop, open_shop

pytestmark = pytest.mark.slow

KEY = Key(b"a secret of many bytes")
Database = psycopg.Connection[Any]


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Iterator[Shop]:
    with open_shop(tmp_path, database_url) as opened:
        yield opened


def copy_column(shop: Shop, column: str, rule: str) -> list[tuple[Any, Any]]:
    """Return the pairs of original and masked values of a column of customers."""
    shop.configure({f"w_customers.{column}": rule})
    copied = shop.run()
    assert copied.code == 0, copied.err
    query = f"SELECT {column} FROM w_customers ORDER BY id"
    pairs = zip(shop.fetch(query, source=True), shop.fetch(query), strict=True)
    return [(before, after) for (before,), (after,) in pairs]


@pytest.mark.parametrize("secret", [b"sixteen bytes ok", b"x" * 64, b"longer than a block " * 5])
def test_the_server_computes_hmac_sha_256(database: Database, secret: bytes) -> None:
    key = Key(secret)
    key.install(database)

    (row,) = database.execute(f"SELECT {render_digest('d', 'x')} FROM (VALUES ('é\\')) AS v (x)".encode())

    expected = hmac.digest(secret, "d:é\\".encode(), "sha256")
    assert bytes(row[0]) == expected
    assert key.digest("d", "é\\") == expected


def test_a_secret_is_not_in_the_text_of_a_query(database: Database) -> None:
    KEY.install(database)

    assert KEY.secret.hex() not in render_digest("d", "x")
    assert "secret" not in repr(KEY)


def test_sixteen_bytes_are_enough() -> None:
    assert read_key({"CONFITURE_ANONYMIZE_SECRET": "0123456789abcdef"}).secret == b"0123456789abcdef"


@pytest.mark.parametrize("size", [2, 3, 10, 97, 1000])
def test_a_rotation_changes_every_number_and_makes_no_two_alike(size: int) -> None:
    rotated = [rotate(KEY, "d", number, size) for number in range(size)]

    assert sorted(rotated) == list(range(size))
    assert [number for number in range(size) if rotated[number] == number] == []


@pytest.mark.parametrize("text", ["+32 470 12 34 56", "AB-1234-cd", "x", "7", "Müller 9", "  00 "])
def test_a_pattern_keeps_the_shape_and_no_value(text: str) -> None:
    masked = ShapeMask(KEY, "d")(text)

    def shape(value: str) -> list[str]:
        return ["9" if c.isdecimal() else "A" if c.isupper() else "a" if c.isalpha() else c for c in value]

    assert shape(masked) == shape(text)
    assert masked != text


@pytest.mark.parametrize("length", [40, 80, 400])
def test_no_part_of_a_long_text_stays(length: int) -> None:
    text = "abcdefghij" * (length // 10)

    masked = ShapeMask(KEY, "d")(text)

    # One letter in 26 is the same by chance.
    for begin in range(0, length, 20):
        part = slice(begin, begin + 20)
        assert sum(a == b for a, b in zip(text[part], masked[part], strict=True)) < 7


def test_a_text_too_short_for_what_may_stay_keeps_nothing() -> None:
    masked = ShapeMask(KEY, "d", keep_first=3)("123")

    assert len(masked) == 3
    assert masked != "123"


def test_what_stays_at_both_ends_stays() -> None:
    masked = ShapeMask(KEY, "d", keep_first=2, keep_last=2)("AB12345678")

    assert (masked[:2], masked[-2:]) == ("AB", "78")
    assert masked[2:-2] != "123456"


@pytest.mark.parametrize("card", ["4111 1111 1111 1111", "378282246310005", "5555-5555-5555-4444"])
def test_a_masked_card_passes_the_luhn_check(card: str) -> None:
    masked = ShapeMask(KEY, "d", check="luhn")(card)

    assert is_luhn(card)
    assert is_luhn(masked)
    assert masked != card


@pytest.mark.parametrize(
    "iban", ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "BE68539007547034"]
)
def test_a_masked_iban_passes_its_check_and_keeps_its_country(iban: str) -> None:
    masked = ShapeMask(KEY, "d", check="iban")(iban)

    assert is_iban(iban)
    assert is_iban(masked)
    assert masked[:2] == iban[:2]
    assert masked != iban


@pytest.mark.parametrize("wrong", ["DE89370400440532013001", "DE", "", "4111", "DE8937040044053201300É"])
def test_what_is_no_iban_is_not_taken_for_one(wrong: str) -> None:
    assert not is_iban(wrong)


@pytest.mark.parametrize("mask, kept", [(ShapeMask(KEY, "d", check="luhn"), 15), (ShapeMask(KEY, "d"), 0)])
def test_numbers_that_differ_in_the_last_digit_alone_stay_different(mask: ShapeMask, kept: int) -> None:
    """Nine of ten have a wrong check digit, and are as wrong afterwards."""
    masked = [mask(f"411111111111111{digit}") for digit in range(10)]

    assert len(set(masked)) == 10
    assert [is_luhn(number) for number in masked].index(True) == 1 or not kept


def test_accounts_that_differ_in_the_check_digits_alone_stay_different() -> None:
    mask = ShapeMask(KEY, "d", check="iban")

    assert len({mask(f"DE{number:02}370400440532013000") for number in range(100)}) == 100


def test_letters_with_accents_stay_different() -> None:
    letters = [chr(code) for code in range(0x41, 0x500) if chr(code).isalpha() and chr(code) not in "ªºµ"]
    cased = [letter for letter in letters if letter.islower() or letter.isupper()]

    masked = [ShapeMask(KEY, "d")(letter) for letter in cased if not 0x180 <= ord(letter) < 0x370]

    assert len(set(masked)) == len(masked) > 400


def test_whole_numbers_of_a_unique_column_stay_different_and_keep_their_sign() -> None:
    mask = NumberMask(KEY, "d", 15)
    numbers = [*range(-300, 300), -(2**15), 2**15 - 1]

    masked = [int(mask(str(number))) for number in numbers]

    assert len(set(masked)) == len(numbers)
    assert [(number < 0) == (other < 0) for number, other in zip(numbers, masked, strict=True)].count(
        False
    ) == 0
    assert all(-(2**15) <= number < 2**15 for number in masked)


def test_columns_that_must_agree_do_so_though_only_one_is_unique_or_short(shop: Shop) -> None:
    for source in (True, False):
        shop.fetch("ALTER TABLE r_customers ADD COLUMN login varchar(24)", source=source)
        shop.fetch("CREATE UNIQUE INDEX ON w_customers (last_ip)", source=source)
    shop.fetch("UPDATE r_customers SET login = 'login-of-' || customer_id", source=True)
    city = '{ strategy = "pseudonym", of = "city" }'
    shop.configure({"w_customers.email": city, "r_customers.email": city})

    copied = shop.run()

    assert copied.code == 0, copied.err
    joined = "w_customers c JOIN r_customers r ON r.customer_id = c.id AND r.email = c.email"
    assert shop.fetch(f"SELECT count(*), count(DISTINCT r.email) FROM {joined}") == [(60, 60)]
    assert shop.fetch("SELECT count(*) FROM w_accounts JOIN r_customers USING (login, customer_id)") == [
        (60,)
    ]
    assert shop.fetch("SELECT count(DISTINCT last_ip) FROM w_customers WHERE last_ip << 'fd00::/8'") == [
        (60,)
    ]
    assert shop.run("verify").code == 0


def test_a_column_too_short_for_those_that_must_agree_with_it_is_refused(shop: Shop) -> None:
    for source in (True, False):
        shop.fetch("ALTER TABLE r_customers ADD COLUMN login varchar(9)", source=source)

    refused = shop.run()

    assert refused.code == 2
    assert (
        "is unique and needs 16 characters (what fits must fit all of public.r_customers.login" in refused.err
    )


def test_dates_are_shifted_by_one_interval(shop: Shop) -> None:
    pairs = copy_column(shop, "birth_date", '{ strategy = "date_shift", max_days = 30 }')

    (days,) = {(before - after).days for before, after in pairs}
    assert 1 <= days <= 30


def test_dates_of_one_subject_are_shifted_alike(shop: Shop) -> None:
    shop.configure({"w_customers.birth_date": '{ strategy = "date_shift", subject = "tenant_id" }'})

    copied = shop.run()

    assert copied.code == 0, copied.err
    query = "SELECT id, tenant_id, birth_date FROM w_customers ORDER BY id"
    pairs = zip(shop.fetch(query, source=True), shop.fetch(query), strict=True)
    shifts = {(before[1], (before[2] - after[2]).days) for before, after in pairs}
    assert len(shifts) == len({tenant for tenant, _ in shifts}) == 3
    assert all(1 <= days <= 365 for _, days in shifts)


def test_numbers_stay_in_their_range_and_none_keeps_its_own(shop: Shop) -> None:
    pairs = copy_column(shop, "salary", '{ strategy = "number", min = 1000, max = 1100 }')

    assert all(1000 <= after <= 1100 for _, after in pairs)
    assert [before for before, after in pairs if before == after] == []


def test_noise_moves_a_number_by_no_more_than_allowed(shop: Shop) -> None:
    pairs = copy_column(shop, "salary", '{ strategy = "noise", percent = 20 }')

    assert all(abs(after - before) <= before / 5 for before, after in pairs)
    assert len({after - before for before, after in pairs}) > 10


def test_a_shuffle_keeps_the_values_and_moves_them(shop: Shop) -> None:
    pairs = copy_column(shop, "birth_date", '"shuffle"')

    assert sorted(before for before, _ in pairs) == sorted(after for _, after in pairs)
    assert [before for before, after in pairs if before == after] == []


def test_the_order_of_rows_does_not_tell_where_shuffled_values_come_from(shop: Shop) -> None:
    shop.configure({"w_customers.birth_date": '"shuffle"', "w_customers.phone": '"shuffle"'})
    shop.run()

    assert shop.fetch("SELECT array_agg(id) FROM (SELECT id FROM w_customers ORDER BY ctid) AS x") == [
        (list(range(1, 61)),)
    ]
    # Born on day n, with the phone number 10 + n: the two columns do not move together.
    together = "birth_date - date '1970-01-01' + 10 = right(phone, 2)::int"
    assert shop.fetch(f"SELECT count(*) < 10 FROM w_customers WHERE {together}") == [(True,)]


def test_only_what_matches_is_redacted(shop: Shop) -> None:
    pairs = copy_column(shop, "notes", """{ strategy = "redact", pattern = '\\d+', text = "N" }""")

    assert {after for _, after in pairs} == {None, "called about invoice N"}


def test_a_condition_decides_which_rows_are_masked(shop: Shop) -> None:
    rule = '{ strategy = "null", when = "id % 2 = 0", reason = "odd customers are ours" }'
    pairs = copy_column(shop, "phone", rule)

    assert [after is None for _, after in pairs] == [number % 2 == 0 for number in range(1, 61)]
    assert shop.run("verify").out == "5 tables verified, nothing found\n"


def test_a_domain_gives_other_pseudonyms(shop: Shop) -> None:
    shop.configure({"r_customers.email": '{ strategy = "email", domain = "read side" }'})
    shop.run()

    joined = "w_customers c JOIN r_customers r ON r.customer_id = c.id AND r.email = c.email"
    assert shop.fetch(f"SELECT count(*) FROM {joined}") == [(0,)]


def test_the_host_of_an_address_can_stay(shop: Shop) -> None:
    shop.configure({"r_customers.email": '{ strategy = "email", keep_host = true }'})
    shop.run()

    hosts = shop.fetch("SELECT DISTINCT split_part(email, '@', 2) FROM r_customers")
    assert hosts == [("real-host.test",)]
    assert shop.run("verify").code == 0


def test_unique_names_stay_unique(shop: Shop) -> None:
    shop.configure({"w_customers.email": '{ strategy = "pseudonym", of = "city" }'})

    copied = shop.run()

    assert copied.code == 0, copied.err
    assert shop.fetch("SELECT count(DISTINCT email) FROM w_customers") == [(60,)]


def test_what_is_masked_fits_its_column(shop: Shop) -> None:
    pairs = copy_column(shop, "first_name", '"hash"')

    assert {len(after) for _, after in pairs} == {20}


def test_a_package_brings_a_strategy_of_its_own(monkeypatch: pytest.MonkeyPatch, shop: Shop) -> None:
    points = EntryPoints([EntryPoint("reverse", "tests.anonymized_shop:REVERSE", strategy.ENTRY_POINTS)])
    monkeypatch.setattr(strategy, "entry_points", lambda group: points.select(group=group))
    strategy.load_strategies.cache_clear()

    try:
        pairs = copy_column(shop, "phone", '"reverse"')
    finally:
        strategy.load_strategies.cache_clear()

    assert all(after == before[::-1] for before, after in pairs)


def test_what_a_package_brings_and_is_no_strategy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints([EntryPoint("wrong", "math:pi", strategy.ENTRY_POINTS)])
    monkeypatch.setattr(strategy, "entry_points", lambda group: points.select(group=group))
    strategy.load_strategies.cache_clear()

    try:
        with pytest.raises(ProfileFault, match="'wrong' of math:pi cannot be used: it is no Strategy"):
            strategy.load_strategies()
    finally:
        strategy.load_strategies.cache_clear()
