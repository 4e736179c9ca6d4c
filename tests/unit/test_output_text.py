"""What a person reads: outcome, times, locks in words, errors with a caret, a summary."""

from __future__ import annotations

import pytest

from confiture.escape import escape_control
from confiture.models.plan import MigrationStatus, Plan, PlannedStep, PluginStatus
from confiture.models.report import (
    Blocks,
    Estimate,
    Fault,
    HookReport,
    MigrationReport,
    StatementReport,
)
from confiture.output import LISTING_FORMATS, load_renderer
from confiture.output.format import format_count, format_duration, render_source_line
from confiture.output.listings import render_order, render_plan, render_plugins, render_status
from confiture.output.text import render
from tests.unit.reports import LOCK, applied, full, report


def last(text: str) -> str:
    return text.rstrip("\n").splitlines()[-1]


def test_a_line_a_migration_says_what_became_of_it():
    text = render(report(applied(statements=(StatementReport(1, "SELECT 1", 1.0),), rows_affected=1200)))

    assert "✓ applied  1  jam      12 ms  1 statement, 1,200 rows" in text.splitlines()


def test_beneath_stand_its_hooks():
    hook = HookReport("after_ddl", "backfill", "Fill", "kept", 4.0, 120, {"batches": 2})

    lines = render(report(applied(hooks=(hook,)))).splitlines()

    assert "    after_ddl  backfill  Fill  120 rows  4.0 ms  kept  batches=2" in lines


def test_a_hook_that_was_undone_says_so():
    hook = HookReport("after_ddl", None, "Fill", "undone", 4.0)

    assert "after_ddl  migration  Fill  0 rows  4.0 ms  undone" in render(report(applied(hooks=(hook,))))


def test_locks_are_told_in_words():
    lines = render(report(applied(locks=(LOCK,)))).splitlines()

    assert "    blocks reads and writes of public.orders for 3.2 ms" in lines


def test_reads_and_writes_are_told_apart():
    text = render(report(applied(blocks=Blocks(("public.v", "public.t"), ("public.t", "public.w")))))

    assert "blocks reads and writes of public.t" in text
    assert "blocks reads of public.v" in text
    assert "blocks writes of public.w" in text


def test_an_error_shows_place_line_caret_and_what_the_server_said():
    error = Fault("no such table", "42P01", "the detail", "the hint", "m/2_fig.sql", 7, 12)
    failed = MigrationReport("2", "fig", "failed", error=error, source_line="ALTER TABLE nope")

    text = render(report(applied(), failed, outcome="failed", exit_code=4))

    assert (
        """\
    error: no such table
      at m/2_fig.sql:7:12
      7 | ALTER TABLE nope
        |            ^
    detail: the detail
    hint: the hint
    SQLSTATE 42P01
"""
        in text
    )
    assert last(text) == "rolled back; applied before: 1 jam"


@pytest.mark.parametrize("line", ["\tx éé fault", "x éé fault", "\x1b[31m fault"])
def test_the_caret_stands_below_its_column(line):
    shown, caret = render_source_line(line, 3, line.index("f") + 1)

    assert shown[caret.index("^")] == "f"


@pytest.mark.parametrize(
    "mode, outcome, word",
    [("run", "applied", "applied"), ("down", "reverted", "reverted"), ("dry-run", "rehearsed", "rehearsed")],
)
def test_the_last_lines_sum_up(mode, outcome, word):
    done = MigrationReport("1", "jam", outcome, duration_ms=1500.0)

    assert f"1 migration {word} in 1.5 s" in render(report(done, mode=mode))


def test_nothing_to_do_is_said():
    assert render(report()) == "nothing to do\n"


def test_a_refusal_says_that_nothing_was_begun_and_why():
    text = render(report(outcome="refused", exit_code=6, error=Fault("another run", hint="wait")))

    assert text == "error: another run\nhint: wait\nrefused: nothing was begun\n"


def test_hooks_that_had_nothing_to_do_share_a_line():
    hooks = (
        HookReport("before_ddl", "guard", "Guard.before_ddl", "kept", 1.0),
        HookReport("after_ddl", None, "Fill", "kept", 1.0),
        HookReport("cleanup", "sweep", "Sweep", "undone", 1.0),
    )

    lines = render(report(applied(hooks=hooks))).splitlines()

    assert "    also ran: guard before_ddl, Fill after_ddl" in lines
    assert any("Sweep" in line and "undone" in line for line in lines)


def test_a_rehearsal_says_that_nothing_is_kept_and_what_was_left_out():
    rehearsed = MigrationReport("1", "jam", "rehearsed", duration_ms=5.0, on_commit=("notify",))
    left_out = MigrationReport("2", "fig", "not_rehearsed", "line 4 cannot run inside a transaction")

    text = render(report(rehearsed, left_out, mode="dry-run"))

    assert "reason: line 4 cannot run inside a transaction" in text
    assert "1 migration rehearsed in 5.0 ms, 1 not rehearsed; nothing kept" in text
    assert "after the commit, not called now: notify" in text
    assert last(text) == "Time in production: unknown."


def test_a_statement_that_was_not_rehearsed_says_why():
    statement = StatementReport(4, "SELECT 1", 1.0, not_rehearsed="55P04")

    lines = render(report(applied(statements=(statement,)), mode="dry-run")).splitlines()

    assert lines[3:5] == ["    line 4  SELECT 1    1.0 ms", "      not rehearsed: 55P04"]


@pytest.mark.parametrize("exit_code", [130, 143])
def test_an_interruption_is_told_with_what_was_applied_before(exit_code):
    failed = MigrationReport("2", "fig", "failed", error=Fault("interrupted"))

    text = render(report(applied(), failed, outcome="failed", exit_code=exit_code))

    assert last(text) == "interrupted, rolled back; applied before: 1 jam"


def test_a_first_migration_that_fails_has_nothing_before_it():
    failed = MigrationReport("1", "jam", "failed", error=Fault("no"))

    assert last(render(report(failed, outcome="failed", exit_code=4))) == "rolled back; nothing was applied"


def test_an_unknown_estimate_is_words_and_never_a_number():
    unknown = applied(estimate=Estimate(False, "no statistics", "run ANALYZE"))

    assert "in production: unknown: no statistics; run ANALYZE" in render(report(unknown))


def test_warnings_and_plugins_are_named():
    text = render(full())

    assert "warning: settings were put back" in text
    assert text.startswith("PostgreSQL 18.1, plugin backfill 0.1.0\n")


def test_terminal_escapes_in_names_and_messages_are_inert():
    evil = "\x1b]0;gone\x07\x9b\u202eevil\r\nline"
    failed = MigrationReport("2", evil, "failed", error=Fault(evil, file=evil, detail=evil), source_line=evil)
    hook = HookReport(evil, evil, evil, "kept", 1.0, stats={evil: evil})

    text = render(report(applied(name=evil, hooks=(hook,), warnings=(evil,)), failed, outcome="failed"))

    assert not set(text) & set("\x1b\x07\x9b\u202e\r")


def test_half_a_surrogate_can_be_printed():
    assert escape_control("a\udcffb").encode() == b"a\\udcffb"


def test_colour_is_for_those_who_ask():
    assert "\x1b[" not in render(full())
    assert "\x1b[" in render(full(), colour=True)


@pytest.mark.parametrize(
    "ms, said",
    [
        (0, "0.0 ms"),
        (0.44, "0.4 ms"),
        (9.96, "10 ms"),
        (12.3, "12 ms"),
        (999.6, "1.0 s"),
        (61_000, "1 min 1 s"),
        (None, ""),
    ],
)
def test_durations_are_said_as_people_say_them(ms, said):
    assert format_duration(ms) == said


def test_one_is_singular():
    assert (format_count(1, "row"), format_count(0, "row"), format_count(2000, "row")) == (
        "1 row",
        "0 rows",
        "2,000 rows",
    )


def test_status_is_a_table_and_counts():
    statuses = (
        MigrationStatus("1", "jam", "applied", "2026-11-23T01:02:03.456+00:00"),
        MigrationStatus("20", "fig", "pending"),
        MigrationStatus("3", "\x1b[0m", "missing"),
    )

    assert render_status(statuses).splitlines() == [
        "applied  1   jam      2026-11-23 01:02:03+00:00",
        "pending  20  fig",
        "missing  3   \\x1b[0m",
        "",
        "1 applied, 1 pending, 1 missing",
    ]


def test_a_plan_shows_sql_and_hooks_in_order():
    step = PlannedStep("1", "jam", "m/1_jam.sql", "sql", False, ((1, "SELECT 1\nFROM t"), (3, "SELECT 2")))
    code = PlannedStep("2", "fig", "m/2_fig.py", "python")

    plan = Plan("18.1", (step, code), {"before_ddl": (), "after_ddl": ("backfill", "report")})
    text = render_plan(plan, verbose=True)

    assert "1 jam  m/1_jam.sql  no-transaction" in text
    assert "    SELECT 1\n    FROM t;\n    SELECT 2;\n" in text
    assert "after_ddl  backfill, report" in text
    assert "before_ddl" not in text
    assert last(text) == "2 migrations to apply"


def test_a_plan_is_one_line_a_migration_without_v():
    steps = tuple(
        PlannedStep(str(n), "jam", f"m/{n}.sql", "sql", True, ((1, "SELECT 1"),)) for n in range(300)
    )

    text = render_plan(Plan("18.1", steps))

    assert len(text.splitlines()) == 302
    assert "SELECT" not in text
    assert "7 jam  m/7.sql  1 statement\n" in text
    assert last(text) == "300 migrations to apply; -v shows the SQL"


def test_an_empty_plan_has_nothing_to_do():
    assert render_plan(Plan("18.1")) == "nothing to do\n"


def test_a_broken_plugin_is_listed_with_its_faults():
    plugins = (
        PluginStatus("guard", "confiture-guard", "1.0", "ready", ("before_ddl",)),
        PluginStatus("oops", "confiture-oops", "2.0", "broken", (), ("ImportError: no jam", "no hooks")),
    )

    assert render_plugins(plugins).splitlines() == [
        "ready   guard  confiture-guard 1.0  before_ddl",
        "broken  oops   confiture-oops 2.0",
        "    ImportError: no jam",
        "    no hooks",
    ]


def test_the_order_is_a_line_a_phase():
    text = render_order({"before_ddl": ("guard (tryfirst)", "backfill"), "cleanup": ()})

    assert text.splitlines() == ["before_ddl  guard (tryfirst), backfill", "cleanup     nothing"]


@pytest.mark.parametrize("format", LISTING_FORMATS)
def test_every_format_can_say_everything(format):
    assert load_renderer(format, "report")(report())
    assert load_renderer(format, "status")(())
    assert load_renderer(format, "plan")(Plan(None))
    assert load_renderer(format, "plugins")(())
    assert load_renderer(format, "order")({})
