"""A copy is masked in place: once, never production, and nothing of the originals is left in its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.anonymized_shop import SECRET, Shop, open_shop

pytestmark = pytest.mark.slow

ORIGINALS = ("real-host", "Givenname", "192.168", "called about", "login-of")


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Iterator[Shop]:
    with open_shop(tmp_path, database_url) as opened:
        yield opened


@pytest.fixture
def duplicate(shop: Shop) -> Shop:
    shop.duplicate_source()
    return shop


def test_what_is_masked_in_place_is_what_a_copy_would_be_and_is_not_masked_twice(duplicate: Shop) -> None:
    masked = duplicate.mask_in_place()

    assert (masked.code, masked.out) == (0, "masked 5 tables in place, 240 rows, as profile qa\n"), masked.err
    assert duplicate.fetch("SELECT count(*) FROM audit_log") == [(0,)]
    again, resumed = duplicate.mask_in_place(), duplicate.mask_in_place("--resume")
    assert (again.code, resumed.code) == (2, 2)
    assert "its rows are masked, and are not masked twice" in again.err
    verified = duplicate.run("verify")
    assert (verified.code, verified.out) == (0, "5 tables verified, nothing found\n"), verified.err


def test_unique_columns_whose_masks_are_originals_of_other_rows_can_be_masked(duplicate: Shop) -> None:
    duplicate.fetch("CREATE UNIQUE INDEX ON w_customers (birth_date)")
    duplicate.fetch("CREATE UNIQUE INDEX ON w_customers (birth_date)", source=True)
    duplicate.configure({"w_customers.birth_date": '{ strategy = "date_shift", max_days = 1 }'})

    masked = duplicate.mask_in_place()

    assert masked.code == 0, masked.err
    assert duplicate.run("verify").code == 0


def test_no_original_is_left_in_the_files_and_the_statistics(duplicate: Shop) -> None:
    duplicate.fetch("ANALYZE")

    duplicate.mask_in_place()

    duplicate.fetch("CHECKPOINT")
    tables = ("w_customers", "w_accounts", "w_orders", "r_customers", "audit_log")
    files = [
        bytes(duplicate.fetch(f"SELECT pg_read_binary_file(pg_relation_filepath('{name}'))")[0][0])
        for name in tables
    ]
    assert [word for word in ORIGINALS if any(word.encode() in content for content in files)] == []
    statistics = str(
        duplicate.fetch("SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE schemaname = 'public'")
    )
    assert [word for word in ORIGINALS if word in statistics] == []


def test_what_breaks_off_in_place_is_marked_and_can_be_resumed(duplicate: Shop) -> None:
    # No masked login fits; those of orders and accounts come before and after other tables.
    duplicate.fetch("ALTER TABLE w_accounts ADD CONSTRAINT readable CHECK (login LIKE 'login%') NOT VALID")

    broken, used, copied = duplicate.mask_in_place(), duplicate.run("verify"), duplicate.run("--resume")
    duplicate.fetch("ALTER TABLE w_accounts DROP CONSTRAINT readable")
    resumed = duplicate.mask_in_place("--resume")

    assert (broken.code, used.code, copied.code) == (4, 2, 2)
    assert "the copy is not finished: it stopped after public.r_customers" in broken.err
    assert "continue with --resume, or empty the target with --drop" in broken.err
    assert "login-of" not in broken.err
    assert resumed.code == 0, resumed.err
    assert "public.r_customers: 60 rows (copied before)" in resumed.err
    assert duplicate.run("verify").code == 0


def test_production_is_not_masked_in_place(shop: Shop) -> None:
    shop.configure(top='[env.production]\nurl = "${PRODUCTION_URL}"')

    refused = shop.mask_in_place(
        environ={**SECRET, "PRODUCTION_URL": f"{shop.target_url} application_name=x"}
    )

    assert refused.code == 2
    assert "the target is production" in refused.err


def test_large_objects_are_refused(shop: Shop) -> None:
    shop.fetch("SELECT lo_from_bytea(0, 'somebody')")

    refused = shop.mask_in_place()

    assert refused.code == 2
    assert "the database holds 1 large objects" in refused.err


def test_a_second_database_is_refused(shop: Shop) -> None:
    refused = shop.mask_in_place("--from", shop.source_url)

    assert refused.code == 2
    assert "--in-place names the only database" in refused.err
