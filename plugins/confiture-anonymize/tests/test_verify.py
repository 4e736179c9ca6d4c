"""Verification finds whatever a copy has and should not have, and nothing in one that is right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.anonymized_shop import RULES, Shop, open_shop

KEEP = '{ strategy = "keep", reason = "to see whether somebody notices" }'


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Iterator[Shop]:
    with open_shop(tmp_path, database_url) as opened:
        yield opened


def test_a_copy_as_the_profile_says_has_no_finding(shop: Shop) -> None:
    shop.run()

    verified = shop.run("verify")

    assert (verified.code, verified.out) == (0, "verified 5 tables: no finding\n"), verified.err


MASKED = [pattern for pattern, rule in RULES.items() if "keep" not in rule.split(",")[0]]


@pytest.mark.parametrize("pattern", MASKED)
def test_a_column_that_was_not_masked_is_found(shop: Shop, pattern: str) -> None:
    """The copy is made with one rule changed to keep, and held against the whole profile."""
    also = {name: KEEP for name in RULES if name.endswith(".login")} if pattern == "*.login" else {}
    shop.configure({pattern: KEEP, **also})
    copied = shop.run()
    shop.configure()

    verified = shop.run("verify")

    assert (copied.code, verified.code) == (0, 1), copied.err + verified.err
    assert pattern.replace("*", "w_orders") in verified.out
    assert not [word for word in ("real-host", "Givenname1", "login-of", "192.168") if word in verified.out]


@pytest.mark.parametrize(
    "change, check, where",
    [
        ("DELETE FROM r_customers WHERE customer_id = 1", "rows", "public.r_customers"),
        ("UPDATE w_customers SET notes = NULL WHERE id = 2", "nulls", "public.w_customers.notes"),
        ("UPDATE w_orders SET status = 'open' WHERE login IS NOT NULL", "values", "public.w_orders.status"),
        (
            "UPDATE w_customers SET tenant_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff' WHERE id = 1",
            "values",
            "public.w_customers.tenant_id",
        ),
        ("INSERT INTO audit_log VALUES (1, 'x')", "skipped", "public.audit_log"),
        (
            "UPDATE w_orders SET status = 'person7@real-host.test' WHERE customer_id = 3",
            "original-value",
            "public.w_orders.status",
        ),
        (
            "SET session_replication_role = replica; DELETE FROM w_accounts WHERE customer_id = 1",
            "foreign-key",
            "public.w_orders",
        ),
        (
            "UPDATE w_customers SET birth_date = date '1970-01-01' + 5 WHERE id = 5",
            "original-value",
            "public.w_customers.birth_date",
        ),
    ],
)
def test_a_copy_that_was_changed_is_found(shop: Shop, change: str, check: str, where: str) -> None:
    shop.run()
    shop.fetch(change)

    verified = shop.run("verify", "--json")

    assert verified.code == 1
    findings = json.loads(verified.out)["findings"]
    assert (check, where) in {(finding["check"], finding["where"]) for finding in findings}


def test_rows_that_their_quasi_identifiers_single_out_are_found(shop: Shop) -> None:
    shop.configure(more='k = 5\nquasi_identifiers = { w_customers = ["tenant_id", "birth_date"] }')
    shop.run()

    verified = shop.run("verify")

    assert verified.code == 1
    assert "60 rows are in groups of fewer than 5 by tenant_id, birth_date  [k-anonymity]" in verified.out


def test_a_database_that_is_no_copy_is_not_verified(shop: Shop) -> None:
    refused = shop.run("verify")

    assert refused.code == 2
    assert "holds no anonymized copy" in refused.err
