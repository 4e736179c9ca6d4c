"""The page shows what the commands print: suggest first, verify last."""

from __future__ import annotations

import re
from pathlib import Path

from tests.anonymized_shop import open_shop
from tests.in_process import run_in_process

PAGE = (Path(__file__).parents[3] / "docs" / "anonymize.md").read_text()
UNUSUAL = """
    UPDATE w_orders SET status = 'person7@real-host.test' WHERE customer_id = 3;
    UPDATE w_customers SET tenant_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff' WHERE id = 1"""


def find_block(section: str, number: int) -> str:
    """Return a code block of a section of the page."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks: list[str] = re.findall(r"```\w+\n(.*?)```", text, re.DOTALL)
    return blocks[number]


def test_the_page_shows_what_suggest_copy_and_verify_print(tmp_path: Path, database_url: str) -> None:
    with open_shop(tmp_path, database_url) as shop:
        suggested = run_in_process(
            ["anonymize", "suggest", "--url", shop.source_url], folder=tmp_path, environ={}
        )
        copied, verified = shop.run(), shop.run("verify")
        shop.fetch(UNUSUAL)
        found = shop.run("verify")

    assert find_block("1. Suggest a profile", 1) == suggested.out
    assert find_block("3. Copy", 0).endswith(f"\n{copied.out}")
    assert find_block("5. Verify", 0).endswith(f"\n{verified.out}")
    assert find_block("5. Verify", 1) == found.out


def test_the_page_begins_with_suggest_and_ends_with_verify() -> None:
    sections = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)

    assert (sections[0], sections[-1]) == ("1. Suggest a profile", "5. Verify")
