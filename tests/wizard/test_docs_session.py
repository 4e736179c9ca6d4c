"""The session that docs/wizard.md shows is what a terminal shows."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from tests.wizard.terminal import Terminal

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "wizard.md"
PROMPT = "[q]uit: "
# Progress is drawn over, so the first line of a card stands behind what was left of it.
_SHOWN = re.compile(r"╭.*|^(?:│|╰|\[r\]un|wrote|run 1 migration|✓).*", re.MULTILINE)
_TIME = re.compile(r"\d+(?:\.\d+)? (?:ms|s)\b")


@pytest.fixture
def shop(project, database):
    """A project with a filled table, and an index to build."""
    project.write("1_orders.sql", "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);\n")
    assert project("run").code == 0
    database.execute("INSERT INTO orders SELECT g, 'x', g FROM generate_series(1, 10000) g")
    database.execute("ANALYZE orders")
    project.write("2_index.up.sql", "CREATE INDEX orders_qty ON orders (qty);\n")
    project.write("2_index.down.sql", "DROP INDEX orders_qty;\n")
    # A database cannot be cloned while somebody is connected to it.
    database.close()
    return project


def read_words(lines: list[str]) -> str:
    """Return the words of cards and prompts: a time that is longer wraps the lines otherwise."""
    text = " ".join(re.sub(r"[╭╮╰╯─│]+", " ", line) for line in lines)
    return " ".join(_TIME.sub("TIME", " ".join(text.split())).split())


def test_the_page_shows_what_a_terminal_shows(shop):
    name = psycopg.conninfo.conninfo_to_dict(shop.url)["dbname"]
    with Terminal(shop, ("wizard", "--in", "clone")) as terminal:
        for keys, prompt in (("w\n", PROMPT), ("r\n", PROMPT), ("y\n", "now? [y/N]: ")):
            terminal.read_until(prompt)
            terminal.type(keys)
        code = terminal.wait()

    shown = _SHOWN.findall(terminal.text.replace(str(name), "shop"))
    session = PAGE.read_text(encoding="utf-8").split("$ confiture wizard --in clone\n")[1].split("```")[0]
    assert code == 0, terminal.text
    assert shop.states() == {"1": "applied", "2": "applied"}
    words = read_words(session.splitlines()).split(), read_words(shown).split()
    assert words[0] == words[1], "\n".join(shown)
