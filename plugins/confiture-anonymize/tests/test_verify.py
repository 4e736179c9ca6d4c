"""Verification finds whatever a copy has and should not have, and nothing in one that is right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from confiture.output import FORMATS
from confiture_anonymize import strategy
from tests.anonymized_shop import RULES, Shop, open_shop

pytestmark = pytest.mark.slow

KEEP = '{ strategy = "keep", reason = "to see whether somebody notices" }'


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Iterator[Shop]:
    with open_shop(tmp_path, database_url) as opened:
        yield opened


def test_a_copy_as_the_profile_says_has_no_finding(shop: Shop) -> None:
    shop.run()

    verified = shop.run("verify")

    assert (verified.code, verified.out) == (0, "5 tables verified, nothing found\n"), verified.err


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
    assert "do not use this copy" in verified.out
    assert not [word for word in ("real-host", "Givenname1", "login-of", "192.168") if word in verified.out]


@pytest.mark.parametrize(
    "change, check, where",
    [
        ("DELETE FROM r_customers WHERE customer_id = 1", "rows", "public.r_customers"),
        ("UPDATE w_customers SET notes = NULL WHERE id = 2", "nulls", "public.w_customers.notes"),
        (
            "WITH w AS (SELECT tenant_id FROM w_customers WHERE id = 1) UPDATE w_customers c SET tenant_id ="
            " CASE id WHEN 1 THEN (SELECT tenant_id FROM w_customers WHERE id = 2) ELSE w.tenant_id END"
            " FROM w WHERE id IN (1, 2)",
            "values",
            "public.w_customers.tenant_id",
        ),
        (
            "UPDATE w_customers SET phone = (SELECT phone FROM w_customers WHERE id = 1) WHERE id = 2",
            "distinct",
            "public.w_customers.phone",
        ),
        (
            "UPDATE w_customers SET notes = 'other' WHERE id = 2",
            "mask",
            "public.w_customers.notes",
        ),
        (
            "ALTER TABLE w_customers DROP CONSTRAINT w_customers_email_key",
            "unique",
            "public.w_customers.w_customers_email_key",
        ),
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

    verified = shop.run("verify", "--output=json")

    assert verified.code == 1
    findings = json.loads(verified.out)["findings"]
    assert (f"anonymize-{check}", where) in {(finding["rule"], finding["relation"]) for finding in findings}


def test_a_report_comes_in_every_format_of_the_gate(shop: Shop) -> None:
    shop.run()
    shop.fetch("UPDATE w_customers SET phone = '+32 470 12 34 11' WHERE id = 1")

    files = {format: shop.folder / f"report.{format}" for format in FORMATS}
    verified = shop.run("verify", *(f"--output={format}={file}" for format, file in files.items()))

    assert verified.code == 1
    texts = {format: file.read_text() for format, file in files.items()}
    # Markdown escapes the underscore.
    shown = {format: text.replace("\\", "") for format, text in texts.items()}
    assert [format for format, text in shown.items() if "public.w_customers.phone" not in text] == []
    line = (shop.folder / "confiture.toml").read_text().split("\n").index('"w_customers.phone" = "phone"') + 1
    assert f"confiture.toml:{line}: error: public.w_customers.phone has 1 of 60 rows" in texts["text"]
    assert ET.fromstring(texts["junit"]).find(".//testcase/failure") is not None
    assert json.loads(texts["sarif"])["runs"][0]["results"]


def test_a_mask_that_gives_another_result_each_time_is_found(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = EntryPoints([EntryPoint("moody", "tests.anonymized_shop:MOODY", strategy.ENTRY_POINTS)])
    monkeypatch.setattr(strategy, "entry_points", lambda group: points.select(group=group))
    strategy.load_strategies.cache_clear()
    shop.configure({"w_customers.notes": '"moody"'})

    try:
        shop.run()
        verified = shop.run("verify")
    finally:
        strategy.load_strategies.cache_clear()

    assert verified.code == 1
    assert "public.w_customers.notes is masked otherwise on a second run" in verified.out


def test_a_refusal_is_reported_in_every_format_too(shop: Shop) -> None:
    refused = shop.run("verify", "--output=json")

    assert refused.code == 2
    assert "holds no anonymized copy" in json.loads(refused.out)["error"]["message"]


def test_rows_that_their_quasi_identifiers_single_out_are_found(shop: Shop) -> None:
    shop.configure(more='k = 5\nquasi_identifiers = { w_customers = ["tenant_id", "birth_date"] }')
    shop.run()

    verified = shop.run("verify")

    assert verified.code == 1
    assert (
        "has 60 rows in groups of fewer than 5 by tenant_id, birth_date  [anonymize-k-anonymity]"
        in verified.out
    )
