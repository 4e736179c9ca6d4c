"""A copy of a shop: every value masked, every row there, and nothing done that must not be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from confiture_anonymize.check_digits import is_iban, is_luhn
from tests.anonymized_shop import SECRET, Shop, open_shop
from tests.in_process import run_in_process

pytestmark = pytest.mark.slow


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Iterator[Shop]:
    with open_shop(tmp_path, database_url) as opened:
        yield opened


def test_a_copy_has_all_rows_and_no_original_value(shop: Shop) -> None:
    copied = shop.run()

    assert (copied.code, copied.out) == (0, "copied 4 tables, 240 rows, as profile qa\n"), copied.err
    assert shop.fetch("SELECT count(*), count(DISTINCT email), count(notes) FROM w_customers") == [
        (60, 60, 30)
    ]
    assert shop.fetch("SELECT count(*) FROM audit_log") == [(0,)]
    text = str(shop.fetch("SELECT * FROM w_customers, r_customers, w_accounts LIMIT 100"))
    assert not [
        word for word in ("real-host", "Givenname", "192.168", "called about", "login-of") if word in text
    ]


def test_the_same_value_gets_the_same_pseudonym_in_every_table(shop: Shop) -> None:
    shop.run()

    joined = (
        "SELECT count(*) FROM w_customers c JOIN r_customers r ON r.customer_id = c.id AND r.email = c.email"
    )
    assert shop.fetch(joined) == [(60,)]
    assert shop.fetch("SELECT count(*) FROM w_orders JOIN w_accounts USING (login)") == [(60,)]


def test_masked_accounts_and_cards_have_valid_check_digits(shop: Shop) -> None:
    shop.run()

    ((iban, card),) = shop.fetch("SELECT DISTINCT iban, card FROM w_customers")
    assert (is_iban(iban), iban[:2], len(iban)) == (True, "DE", 22)
    assert (is_luhn(card), card[:7], len(card)) == (True, "4111 11", 19)
    assert iban != "DE89370400440532013000"
    assert card != "4111 1111 1111 1111"


def test_identities_continue_where_those_of_the_source_are(shop: Shop) -> None:
    shop.run()

    tenant = "00000000-0000-0000-0000-000000000000"
    assert shop.fetch(f"INSERT INTO w_customers (tenant_id) VALUES ('{tenant}') RETURNING id") == [(61,)]


def test_two_copies_with_one_secret_are_the_same(shop: Shop) -> None:
    shop.run()
    first = shop.fetch("SELECT email, phone, iban FROM w_customers ORDER BY id")
    shop.run("--drop")

    again = shop.run()

    assert again.code == 0, again.err
    assert shop.fetch("SELECT email, phone, iban FROM w_customers ORDER BY id") == first


def test_a_column_that_nobody_classified_stops_the_copy_before_the_first_row(shop: Shop) -> None:
    shop.configure({"w_customers.phone": None, "w_customers.notes": None})

    refused = shop.run()

    assert refused.code == 5
    assert "2 columns may hold personal data" in refused.err
    assert '"w_customers.phone" = "phone"' in refused.err
    assert '"w_customers.notes" = "redact"' in refused.err
    assert shop.fetch("SELECT count(*) FROM w_customers") == [(0,)]


@pytest.mark.parametrize(
    "rules, more, message, hint",
    [
        (
            {"w_customers.emial": '"email"'},
            "",
            "no column is called 'w_customers.emial'",
            "w_customers.email",
        ),
        ({"w_custmers.email": '"email"'}, "", "no column is called 'w_custmers.email'", "w_customers.email"),
        ({"w_customers.email": '"emial"'}, "", "there is no strategy 'emial'", "email"),
        ({"w_customers.email": '{ strategy = "email", hots = "x.test" }'}, "", "unknown key 'hots'", "host"),
        ({"w_customers.email": '"keep"'}, "", "reason is missing", "say why"),
        (
            {},
            'quasi_identifiers = { w_custmers = ["phone"] }',
            "no table is called 'w_custmers'",
            "w_customers",
        ),
        ({}, 'extends = "bass"', "there is no profile 'bass'", "the profiles are qa"),
        ({}, 'extends = "qa"', "extends itself", "remove"),
        ({}, 'skpi = ["x"]', "unknown key 'skpi'", "skip"),
        ({"w_customers.email": '"redact"'}, "", "is unique, and redact makes different values alike", "hash"),
        ({"w_customers.birth_date": '"email"'}, "", "does not fit email", "columns of text"),
        ({"w_orders.status": '"null"'}, "", "is NOT NULL", "fixed"),
        (
            {"w_orders.login": '{ strategy = "hash", domain = "b" }'},
            "",
            "are not masked alike",
            "same strategy",
        ),
        (
            {"w_customers.first_name": '{ strategy = "fixed", value = "longer than twenty characters" }'},
            "",
            "is too short for a value of 29 characters",
            "shorten",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_row(
    shop: Shop, rules: dict[str, str], more: str, message: str, hint: str
) -> None:
    shop.configure(rules, more)

    refused = shop.run()

    assert refused.code == 2, refused.err
    assert message in refused.err
    assert hint in refused.err
    assert shop.fetch("SELECT count(*) FROM w_customers") == [(0,)]


@pytest.mark.parametrize(
    "secret, message", [("", "is not set, or empty"), ("short", "has 5 bytes; it needs 16")]
)
def test_a_secret_that_is_missing_or_short_is_refused(shop: Shop, secret: str, message: str) -> None:
    refused = shop.run(environ={"CONFITURE_ANONYMIZE_SECRET": secret})

    assert refused.code == 2
    assert message in refused.err


def test_the_source_is_refused_as_the_target(shop: Shop) -> None:
    spelt_otherwise = make_conninfo(shop.source_url, application_name="other")

    refused = Shop(shop.folder, shop.source_url, spelt_otherwise).run()

    assert refused.code == 2
    assert "the target is the source" in refused.err


def test_production_is_refused_as_the_target_however_its_url_is_spelt(shop: Shop) -> None:
    shop.configure(top='[env.production]\nurl = "${PRODUCTION_URL}"')

    refused = shop.run(environ={**SECRET, "PRODUCTION_URL": f"{shop.target_url} application_name=other"})

    assert refused.code == 2
    assert "the target is production" in refused.err


def test_a_target_with_another_schema_is_refused(shop: Shop) -> None:
    shop.fetch("ALTER TABLE w_orders ADD COLUMN note text")

    refused = shop.run()

    assert refused.code == 2
    assert "the schema of the target differs: table public.w_orders" in refused.err


def test_rows_of_somebody_else_in_the_target_are_neither_overwritten_nor_dropped(shop: Shop) -> None:
    shop.fetch("INSERT INTO audit_log VALUES (1, 'mine')")

    refused, dropped = shop.run(), shop.run("--drop")

    assert (refused.code, dropped.code) == (2, 2)
    assert "the target is not empty: public.audit_log has rows" in refused.err
    assert shop.fetch("SELECT entry FROM audit_log") == [("mine",)]


def test_a_copy_that_breaks_off_is_marked_and_can_be_resumed(shop: Shop) -> None:
    shop.fetch("ALTER TABLE w_orders ADD CONSTRAINT cheap CHECK (cents < 50) NOT VALID")
    shop.fetch("ALTER TABLE w_orders ADD CONSTRAINT cheap CHECK (cents < 50) NOT VALID", source=True)

    broken = shop.run()
    used, again = shop.run("verify"), shop.run()
    for source in (True, False):
        shop.fetch("ALTER TABLE w_orders DROP CONSTRAINT cheap", source=source)
    resumed = shop.run("--resume")

    assert broken.code == 4
    assert (
        "not finished: it stopped after public.w_customers: check violation (23514): w_orders.cheap"
        in broken.err
    )
    assert "person" not in broken.err
    assert (used.code, again.code) == (2, 2)
    assert "is not finished" in used.err
    assert "an unfinished copy" in again.err
    assert resumed.code == 0, resumed.err
    assert "public.w_customers: 60 rows (copied before)" in resumed.err
    assert shop.run("verify").code == 0


def test_an_unfinished_copy_is_not_migrated(shop: Shop) -> None:
    for source in (True, False):
        shop.fetch("ALTER TABLE w_orders ADD CONSTRAINT cheap CHECK (cents < 50) NOT VALID", source=source)
    shop.run()
    (shop.folder / "migrations").mkdir()
    (shop.folder / "migrations" / "1_x.sql").write_text("CREATE TABLE x (id int);")
    arguments = ["run", "--url", shop.target_url, "--plugins", "anonymize"]

    refused = run_in_process(arguments, folder=shop.folder, environ=SECRET)

    assert refused.code == 5
    assert "unfinished anonymized copy of profile 'qa'" in refused.out + refused.err


def test_a_connection_that_is_cut_leaves_a_copy_to_resume(shop: Shop) -> None:
    die = (
        "CREATE FUNCTION die() RETURNS boolean LANGUAGE sql"
        " AS 'SELECT pg_terminate_backend(pg_backend_pid())';"
        "ALTER TABLE w_orders ADD CONSTRAINT dies CHECK (die()) NOT VALID"
    )
    for source in (True, False):
        shop.fetch(die, source=source)

    cut = shop.run()
    for source in (True, False):
        shop.fetch("ALTER TABLE w_orders DROP CONSTRAINT dies", source=source)
    resumed = shop.run("--resume")

    assert cut.code == 4
    assert "the copy is not finished: it stopped after public.w_customers" in cut.err
    assert "continue with --resume, or empty the target with --drop" in cut.err
    assert resumed.code == 0, resumed.err
    assert shop.run("verify").out == "5 tables verified, nothing found\n"


def test_a_disk_that_fills_leaves_a_copy_to_resume_or_drop(shop: Shop) -> None:
    full = (
        "CREATE FUNCTION fill() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'could not extend file:"
        " No space left on device' USING ERRCODE = 'disk_full'; END $$;"
        "ALTER TABLE w_orders ADD CONSTRAINT fills CHECK (fill()) NOT VALID"
    )
    for source in (True, False):
        shop.fetch(full, source=source)

    stopped = shop.run()
    used, dropped = shop.run("verify"), shop.run("--drop")

    assert (stopped.code, used.code, dropped.code) == (4, 2, 0)
    assert (
        "the copy is not finished: it stopped after public.w_customers: could not extend file" in stopped.err
    )
    assert "make room on the disk of the server; then continue with --resume" in stopped.err
    assert shop.fetch("SELECT count(*) FROM w_customers") == [(0,)]


@pytest.mark.parametrize("mode, exposed", [(0o644, True), (0o600, False)])
@pytest.mark.parametrize("line", ['[anonymize]\nsecret = "of more than 16 bytes"', ""])
def test_a_secret_in_the_configuration_is_refused(shop: Shop, mode: int, exposed: bool, line: str) -> None:
    shop.configure(top=line, more="" if line else 'secret = "of more than 16 bytes"')
    (shop.folder / "confiture.toml").chmod(mode)

    refused = shop.run()

    assert refused.code == 2
    where = "anonymize.secret" if line else "anonymize.profiles.qa.secret"
    assert f"confiture.toml: {where} is a secret in a file" in refused.err
    assert (f"a file that others can read (mode {mode:o})" in refused.err) is exposed
    assert "of more than" not in refused.err + refused.out


def test_a_copy_is_not_resumed_with_another_secret(shop: Shop) -> None:
    for source in (True, False):
        shop.fetch("ALTER TABLE w_orders ADD CONSTRAINT cheap CHECK (cents < 50) NOT VALID", source=source)
    shop.run()

    refused = shop.run("--resume", environ={"CONFITURE_ANONYMIZE_SECRET": "quite another secret"})

    assert refused.code == 2
    assert "another secret" in refused.err
