"""The story of a pull request: main is safe, a branch is not, and its author is told what to write instead."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import psycopg
import pytest

from tests.gate.test_changes import commit
from tests.project import Project, applied

Place = tuple[str, str, int]

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, customer int, day date);\n"
DANGEROUS = """\
-- What the new page asks for.
SET LOCAL lock_timeout = '1s';

CREATE INDEX orders_day ON orders (day);
"""
OUTPUTS = {
    "gitlab": "quality.json",
    "sarif": "confiture.sarif",
    "junit": "junit.xml",
    "markdown": "comment.md",
    "html": "report.html",
    "json": "report.json",
}


@pytest.fixture
def branch(repository: Project, database_url, git) -> Project:
    """A branch with a dangerous migration; the base is applied to a database that has rows."""
    project = repository
    project.url = database_url
    project.write("0001_orders.sql", ORDERS)
    project.write("0002_customers.sql", "CREATE TABLE customers (id int PRIMARY KEY);\n")
    commit(git)
    git("branch", "--quiet", "--force", "main")
    assert project("run", "--gate").code == 0
    with psycopg.connect(database_url) as conn:
        conn.execute("INSERT INTO orders SELECT n, n, '2026-01-01' FROM generate_series(1, 5000) AS n")
    project.write("0003_orders_by_day.sql", DANGEROUS)
    commit(git)
    return project


def checked(project: Project):
    """Run the check of the pull request, as a job of a CI service does; on a clone of the database."""
    project.environ["GITHUB_STEP_SUMMARY"] = str(project.folder / "summary.md")
    wanted = [f"--output={format}={file}" for format, file in OUTPUTS.items()]
    return project("dry-run", "--since", "main", "--in", "clone", "--output=github", *wanted)


def of_github(text: str) -> set[Place]:
    """Read the annotations."""
    pattern = r"^::(?:error|warning|notice) file=([^,]+),line=(\d+),title=confiture%3A ([\w-]+)::"
    return {(rule, file, int(line)) for file, line, rule in re.findall(pattern, text, re.M)}


def of_gitlab(path: Path) -> set[Place]:
    """Read the Code Quality report."""
    return {
        (load["check_name"], load["location"]["path"], load["location"]["lines"]["begin"])
        for load in json.loads(path.read_text())
    }


def of_sarif(path: Path) -> set[Place]:
    """Read the results."""
    found = set()
    for item in json.loads(path.read_text())["runs"][0]["results"]:
        place = item["locations"][0]["physicalLocation"]
        found.add((item["ruleId"], place["artifactLocation"]["uri"], place["region"]["startLine"]))
    return found


def of_text(names: list[str]) -> set[Place]:
    """Read ``RULE FILE:LINE``."""
    found = (re.fullmatch(r"([\w-]+) (.+):(\d+)", name) for name in names)
    return {(each[1], each[2], int(each[3])) for each in found if each}


def of_junit(path: Path) -> set[Place]:
    """Read the rule and the place of the cases that did not pass."""
    results = [case[0] for case in ElementTree.parse(path).iter("testcase") if len(case)]
    return of_text([" ".join((one.attrib["type"], (one.text or "").partition("\n")[0])) for one in results])


def of_markdown(path: Path) -> set[Place]:
    """Read the list."""
    return of_text(
        [" ".join(item) for item in re.findall(r"^- \*\*.*?\*\* `(.+?)` `(.+?)`", path.read_text(), re.M)]
    )


def of_html(path: Path) -> set[Place]:
    """Read the cards."""
    cards = re.findall(r'<article class="card finding.*?</article>', path.read_text(), re.S)
    told = [(re.search(r"</span> ([\w-]+)", card), re.search(r"<code>(.+?)</code>", card)) for card in cards]
    return of_text([f"{rule[1]} {html.unescape(place[1])}" for rule, place in told if rule and place])


def recipe_in(text: str) -> str:
    """Return the SQL that is printed under ``instead``."""
    found = re.search(r"^  instead:\n((?:    .*\n|\n)+)", text, re.M)
    assert found, text
    return "\n".join(line.removeprefix("    ") for line in found[1].splitlines()).strip() + "\n"


def test_a_dangerous_pull_request_fails_is_explained_everywhere_and_passes_with_the_recipe(
    branch: Project, database_url
):
    first = checked(branch)
    folder = branch.folder
    findings = json.loads((folder / "report.json").read_text())["findings"]
    places = {(finding["rule"], finding["file"], finding["line"]) for finding in findings}

    # It fails, at the line of the statement, and nothing is left behind.
    assert first.code == 1
    assert ("index-not-concurrent", "migrations/0003_orders_by_day.sql", 4) in places
    assert not any(finding["ignored"] for finding in findings)
    with psycopg.connect(database_url) as conn:
        assert applied(conn) == ["0001", "0002"]

    # Everybody is told the same, wherever they look.
    assert of_github(first.out) == places
    assert of_gitlab(folder / "quality.json") == places
    assert of_sarif(folder / "confiture.sarif") == places
    assert of_junit(folder / "junit.xml") == places
    assert of_markdown(folder / "comment.md") == places
    assert of_markdown(folder / "summary.md") == places
    assert of_html(folder / "report.html") == places

    # What is printed is pasted, and the check passes.
    branch.write("0003_orders_by_day.sql", recipe_in(first.out))
    second = checked(branch)
    assert second.code == 0, second.out
    assert branch("run", "--gate", "--since", "main").code == 0
    with psycopg.connect(database_url) as conn:
        assert applied(conn) == ["0001", "0002", "0003"]
