"""The page: whole, inert, with nothing loaded from outside, whatever the report holds."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from confiture.models.report import (
    Estimate,
    Fault,
    HookReport,
    MigrationReport,
    Report,
    StatementReport,
    Verdict,
)
from confiture.output.html import render
from tests.page.samples import EVERY, everyday, exclusive, odd, rehearsal, wide
from tests.reporters.reports import finding

_VOID = {"meta", "img", "br", "hr", "input", "link"}


class Nesting(HTMLParser):
    """Reads a page, and keeps what is open and every tag and attribute it has met."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def nesting(page: str) -> Nesting:
    parsed = Nesting()
    parsed.feed(page)
    parsed.close()
    return parsed


def words(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(nesting(page).text))


@pytest.mark.parametrize("name", EVERY)
def test_every_element_is_closed_and_none_of_them_runs_or_loads(name):
    parsed = nesting(render(EVERY[name]))

    assert parsed.open == []
    assert parsed.tags.isdisjoint({"script", "img", "link", "iframe", "object", "image", "use"})
    assert not {attribute for attribute in parsed.attributes if attribute.startswith("on")} | (
        parsed.attributes & {"src"}
    )


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_loaded_from_outside(name):
    page = render(EVERY[name])

    assert not re.search(r"https?:|url\(|\ssrc=[^x]|@import", page)
    assert set(re.findall(r'href="([^"]*)"', page)) == {
        f"#m{number}"
        for number in range(1, 1 + len(EVERY[name].migrations))
        if len(EVERY[name].migrations) > 1
    }


def test_markup_and_control_characters_in_names_stay_text():
    page = render(odd())

    assert "<script" not in page
    assert "<img" not in page
    assert page.count("</style>") == page.count("</title></head>") + 1 == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)
    assert '"<script>alert(1)</script>\\x1b[31m\\u202e & Ünï"' in words(page)


def test_it_says_what_happened_where_on_what_server_with_which_plugins():
    said = words(render(everyday()))

    assert "2 migrations rehearsed in 1.3 s, 1 not rehearsed; nothing kept" in said
    assert "PostgreSQL 18.1" in said
    assert "guard 0.1.0, backfill 0.1.0" in said
    assert (
        "Long block: reads and writes of public.orders for 1.2 s while it is rewritten, index-built and scanned, by migration 0002 placed_at"
        in said
    )


def test_every_measurement_of_a_statement_is_there():
    said = words(render(everyday()))

    assert "ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customers line 9" in said
    assert "public.orders table AccessExclusiveLock, blocks reads and writes for 1.2 s" in said
    for fact in (
        "905 ms",
        "2.5 ms",
        "1,200",
        "48.2 MB",
        "rewrites public.orders, rebuilds 2 indexes, scans public.orders",
    ):
        assert fact in said


def test_hooks_findings_recipes_residue_and_what_was_not_seen_are_there():
    said = words(render(everyday()))

    for fact in (
        "after_ddl backfill fill",
        "batches = 2",
        "undone",
        "change-type-rewrite",
        "migrations/0002_placed_at.sql:5",
        "ALTER TABLE orders ADD COLUMN total_new",
        "no-statement-timeout ignored",
        "public.orders_id_seq",
        "1200 → 2400",
        "the lock's mode of public.old_orders : it was already held",
        "plugin backfill changed work_mem",
        "notify.send_mail",
        "CREATE INDEX CONCURRENTLY cannot run inside a transaction",
        "All migrations of a rehearsal see one now().",
        "Gate: failed (1 error): change-type-rewrite at migrations/0002_placed_at.sql:5. Next: do less at a time",
    ):
        assert fact in said


def test_an_estimate_is_told_with_its_intervals_and_an_unknown_one_with_its_reason():
    said = words(render(everyday()))

    assert (
        "about 42.0 s ; half of the time 36.0 s to 51.0 s; nine times in ten 25.0 s to 1 min 28 s; within 15 % of that with confidence 70 %; grows with rows of public.orders"
        in said
    )
    assert "unknown: no statistics of earlier runs" in said


def test_an_estimate_without_intervals_is_drawn_without_them():
    bare = MigrationReport("1", "jam", "rehearsed", estimate=Estimate(True, p50_ms=0.0))

    said = words(render(rehearsal(bare)))

    assert "about 0.0 ms" in said
    assert "half of the time" not in said


def test_an_error_is_told_with_its_place_and_a_caret():
    page = render(EVERY["failed run"])

    assert "migrations/2_fig.sql:7:12" in page
    assert "7 | ALTER TABLE nope ADD i int\n  |            ^" in page


def test_the_lanes_that_are_too_many_are_folded():
    page = render(wide(324))

    assert "<summary>and 312 more</summary>" in page
    assert page.count('<div class="lane"><div class="name" title="public.events_') == 324


def test_quiet_statements_of_a_long_migration_are_folded():
    statements = tuple(StatementReport(n, f"SELECT {n}", 0.1) for n in range(1, 101))
    loud = StatementReport(101, "ALTER TABLE jam ADD i int", 0.1, locks=(exclusive("public.jam", 1.0),))

    page = render(
        rehearsal(MigrationReport("1", "jam", "rehearsed", duration_ms=12.0, statements=(*statements, loud)))
    )

    assert "<summary>and 100 quiet statements</summary>" in page
    assert page.index("ALTER TABLE jam") < page.index("and 100 quiet statements") < page.index("SELECT 99<")


def test_whatever_a_hook_left_in_its_stats_is_shown():
    hook = HookReport("after_ddl", "p", "h", "kept", 1.0, stats={"a": {"<b>": [1, None]}, "n": None})

    assert "a = {'<b>': [1, None]}, n =" in words(
        render(Report("run", "ok", 0, migrations=(MigrationReport("1", "j", "applied", hooks=(hook,)),)))
    )


def test_what_the_page_is_made_from_ships_in_the_package():
    names = {path.name for path in (files("confiture.output") / "templates").iterdir()}

    assert {"frame.html.j2", "report.html.j2", "migration.html.j2", "text.html.j2", "style.css"} <= names


def test_a_run_writes_the_page_where_it_is_told_to(project):
    project.write("1_jam.sql", "CREATE TABLE jam (i int);")

    answer = project("run", "--no-plugins", "--output", "html=report.html")

    assert answer.code == 0
    assert "1 migration applied" in answer.out
    assert "1 migration applied" in words((project.folder / "report.html").read_text())


def test_a_rehearsal_writes_the_page_to_stdout_alone(project):
    project.write("1_jam.sql", "CREATE TABLE jam (i int);")

    answer = project("dry-run", "--no-plugins", "--output", "html")

    assert answer.out.startswith("<!DOCTYPE html>")
    assert answer.out.rstrip().endswith("</html>")


def test_what_is_refused_leaves_a_page_too(project):
    project.write("1_jam.sql", "BEGIN;")

    answer = project("run", "--output", "html=report.html")

    assert answer.code == 4
    assert "nothing was begun" in words((project.folder / "report.html").read_text())


def test_what_has_no_page_of_its_own_is_text_in_one(project):
    project.write("1_<b>jam.sql", "SELECT 1;")

    page = project("status", "--output", "html").out

    assert nesting(page).open == []
    assert "pending 1 <b>jam" in words(page)


def test_help_does_not_load_the_templates():
    script = "import sys; import confiture.cli.outputs, confiture.output; print('jinja2' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"


def colours(css: str) -> dict[str, str]:
    return {
        name: value if len(value) == 7 else f"#{value[1] * 2}{value[2] * 2}{value[3] * 2}"
        for name, value in re.findall(r"--(\w+): (#\w{3,6});", css)
    }


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_stands_out_from_what_it_stands_on(scheme):
    css = (files("confiture.output") / "templates" / "style.css").read_text()
    first, dark, paper = css.split(":root {")[1:]
    shades = colours({"light": first, "dark": dark, "print": paper}[scheme].split("}")[0])

    faint = [
        (ink, on, round(contrast(shades[ink], shades[on]), 1))
        for ink in ("ink", "muted", "good", "bad", "warn", "info")
        for on in ("paper", "card", "soft", "callout")
        if contrast(shades[ink], shades[on]) < 4.5
    ]
    assert faint == []
    assert all(contrast(shades[bar], shades["card"]) >= 2 for bar in ("both", "reads", "writes", "nothing"))


def test_what_is_blocked_is_told_by_the_bars_height_and_by_words_too():
    page = render(everyday())
    heights = dict(
        re.findall(
            r'<rect class="(both|writes|nothing)" x="[^"]*" y="\d+" width="[^"]*" height="(\d+)"', page
        )
    )

    assert len(set(heights.values())) == 3
    assert re.search(r"public\.customers</code></div>.*?blocks writes for 310", page, re.DOTALL)


def first_screen(page: str) -> str:
    return words(page.split('<dl class="facts">')[0])


def test_a_page_of_a_failed_gate_begins_with_the_failure():
    found = finding()
    told = Report(
        "dry-run",
        "ok",
        1,
        "18.1",
        "18.1",
        migrations=(MigrationReport("1", "jam", "rehearsed", duration_ms=1.0),),
        findings=(found,),
        verdict=Verdict(False, "gate: failed (1 error): index-not-concurrent", 'use the SQL under "instead"'),
    )

    page = render(told)

    assert "✓" not in first_screen(page)
    assert "✗ the gate failed: 1 error 1 migration rehearsed" in first_screen(page)
    assert 'Next: use the SQL under "instead"' in first_screen(page)
    assert f"Instead: {found.recipe}" in words(page)


def test_a_page_begins_with_the_error_of_a_refusal():
    page = render(Report("run", "refused", 2, error=Fault("unknown key 'urll'", hint="did you mean 'url'?")))

    assert "✗ refused: nothing was begun" in first_screen(page)
    assert "Error unknown key 'urll'" in first_screen(page)
    assert "did you mean 'url'?" in first_screen(page)


def test_a_page_of_a_failed_run_begins_with_its_error_however_far_below_the_migration_is():
    many = [MigrationReport(str(number), "jam", "applied", duration_ms=1.0) for number in range(1, 300)]
    failed = MigrationReport("300", "fig", "failed", error=Fault('column "day" does not exist'))

    page = render(Report("run", "failed", 4, "18.1", migrations=(*many, failed)))

    assert '300 fig : column "day" does not exist' in first_screen(page)
    assert 'href="#m300"' in page.split('<dl class="facts">')[0]
