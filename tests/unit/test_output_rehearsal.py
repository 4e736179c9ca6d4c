"""What a rehearsal tells at a terminal: each statement that somebody would notice, and what it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from confiture.models.report import (
    Blocks,
    HookReport,
    IndexBuild,
    Lock,
    MigrationReport,
    NotSeen,
    Report,
    Residue,
    StatementReport,
)
from confiture.output.format import format_size, join_names, shorten_sql
from confiture.output.text import render
from tests.page.samples import everyday

BOTH = ("reads", "writes")


def exclusive(relation: str = "public.orders", held_ms: float | None = 1200.0, **more) -> Lock:
    return Lock(relation, "table", "AccessExclusiveLock", BOTH, held_ms, **more)


def rehearsed(*statements: StatementReport, **facts) -> MigrationReport:
    return MigrationReport("1", "jam", "rehearsed", duration_ms=1300.0, statements=statements, **facts)


def told(*migrations: MigrationReport, room: int | None = None, **facts) -> list[str]:
    report = Report("dry-run", "ok", 0, "18.1", migrations=migrations, **facts)
    return render(report, max_width=room).splitlines()


def altering(*locks: Lock, **facts) -> StatementReport:
    return StatementReport(
        3, "ALTER TABLE orders\n  ADD total numeric", facts.pop("duration_ms", 1200.0), locks=locks, **facts
    )


def test_a_statement_stands_with_its_line_first_words_time_and_rows():
    lines = told(
        rehearsed(altering(exclusive(), rows=1_200), StatementReport(12, "UPDATE t SET i = 1", 60.0, rows=1))
    )

    assert "    line 3   ALTER TABLE orders ADD total numeric     1.2 s  1,200 rows" in lines
    assert "    line 12  UPDATE t SET i = 1                       60 ms  1 row" in lines


def test_its_locks_are_told_in_words_with_how_long_they_are_held():
    assert "      blocks reads and writes of public.orders for 1.2 s" in told(
        rehearsed(altering(exclusive()))
    )


def test_relations_that_are_blocked_alike_share_a_line():
    locks = (exclusive("public.a"), exclusive("public.b"), exclusive("public.c", 5.0))

    lines = told(rehearsed(altering(*locks)))

    assert "      blocks reads and writes of public.a, public.b for 1.2 s" in lines
    assert "      blocks reads and writes of public.c for 5.0 ms" in lines


@pytest.mark.parametrize(
    "lock, said",
    [
        (exclusive(held_ms=3.0, transient=True), "for 3.0 ms, gone before the end"),
        (exclusive(seen="held-before"), "for 1.2 s (held before)"),
        (exclusive(held_ms=None, seen="sampled"), "public.orders (sampled)"),
    ],
)
def test_what_is_special_about_a_lock_is_said(lock, said):
    assert any(line.endswith(said) for line in told(rehearsed(altering(lock))))


def test_what_blocks_neither_reads_nor_writes_is_counted():
    indexes = [Lock(f"public.i{n}", "index", "AccessExclusiveLock", held_ms=1.0) for n in range(3)]
    toast = Lock("pg_toast.pg_toast_1", "toast", "AccessExclusiveLock", held_ms=1.0)

    assert "      locks 3 indexes and 1 TOAST relation" in told(rehearsed(altering(*indexes, toast)))
    assert "      locks index public.i0" in told(rehearsed(altering(indexes[0])))


def test_rewrites_builds_and_scans_are_told_in_words():
    builds = (
        IndexBuild("public.day", "public.orders", new=True),
        *(IndexBuild(f"public.i{n}", "public.orders", new=False) for n in range(3)),
    )

    lines = told(
        rehearsed(altering(rewrites=("public.orders",), index_builds=builds, scans=("public.lines",)))
    )

    assert (
        "      rewrites public.orders, builds public.day on public.orders, rebuilds 3 indexes, scans public.lines"
        in lines
    )


def test_a_long_block_stands_out():
    migration = rehearsed(altering(exclusive()), long_blocks=("public.orders",), rewrites=("public.orders",))

    report = Report("dry-run", "ok", 0, "18.1", migrations=(migration,))

    assert "    long block: reads and writes of public.orders for 1.2 s while it is rewritten" in told(
        migration
    )
    assert "\x1b[31m\x1b[1mlong block:" in render(report, colour=True)


def test_of_several_migrations_the_longest_block_is_named_last():
    short = rehearsed(altering(exclusive("public.a", 9_000.0)))
    long = MigrationReport(
        "2",
        "fig",
        "rehearsed",
        statements=(altering(exclusive()),),
        long_blocks=("public.orders",),
        scans=("public.orders",),
    )

    assert "long block: reads and writes of public.orders for 1.2 s while it is scanned, by 2 fig" in told(
        short, long
    )
    assert "longest block: reads and writes of public.a for 9.0 s, by 1 jam" in told(short, short)
    assert not any(line.startswith("longest block") for line in told(short))


def test_quiet_statements_share_one_line():
    quiet = [StatementReport(n, "SELECT 1", 10.0) for n in range(5)]

    lines = told(rehearsed(*quiet, altering(exclusive())))

    assert "    and 5 quiet statements, 50 ms" in lines
    assert not any("SELECT" in line for line in lines)


def test_twenty_quiet_migrations_take_a_line_each():
    migrations = [rehearsed(StatementReport(1, "CREATE TABLE t ()", 2.0)) for _ in range(20)]

    assert len(told(*migrations)) == 2 + 20 + 3


def test_fifty_quiet_migrations_take_one_line():
    migrations = [rehearsed(StatementReport(1, "CREATE TABLE t ()", 2.0)) for _ in range(50)]

    lines = told(*migrations)

    assert len(lines) == 2 + 1 + 3
    assert any("50 more migrations" in line and "all quiet (-v shows all)" in line for line in lines)


@pytest.mark.parametrize(
    "loud",
    [
        StatementReport(1, "SELECT 1", 50.0),
        StatementReport(1, "SELECT 1", 1.0, lock_wait_ms=2.0),
        StatementReport(1, "SELECT 1", 1.0, rewrites=("public.t",)),
    ],
)
def test_what_somebody_would_notice_is_not_quiet(loud):
    assert any("SELECT 1" in line for line in told(rehearsed(loud)))


def test_very_many_noticeable_statements_are_cut_short_with_the_way_to_all():
    lines = told(rehearsed(*(altering(exclusive(f"public.t{n}")) for n in range(30))))

    assert "    and 10 more statements: --output html=FILE shows all" in lines


def test_very_many_relations_are_cut_short():
    lines = told(rehearsed(altering(*(exclusive(f"public.t{n}") for n in range(40)))))

    assert (
        "      blocks reads and writes of public.t0, public.t1, public.t2, public.t3, public.t4 and 35 more for 1.2 s"
        in lines
    )


def test_a_hook_that_locks_says_so():
    hook = HookReport("after_ddl", "backfill", "Fill", "kept", 4.0, locks=(exclusive(held_ms=4.0),))

    assert "      blocks reads and writes of public.orders for 4.0 ms" in told(rehearsed(hooks=(hook,)))


def test_what_the_migration_blocks_is_not_told_twice():
    migration = rehearsed(
        altering(exclusive()),
        locks=(exclusive(), exclusive("public.other", 5.0)),
        blocks=Blocks(("public.orders", "public.part"), ("public.orders",)),
    )

    lines = told(migration)

    assert sum("of public.orders" in line for line in lines) == 1
    assert "    blocks reads and writes of public.other for 5.0 ms" in lines
    assert "    blocks reads of public.part" in lines


def test_what_was_seen_of_no_migration_takes_one_line_for_all():
    everywhere, once = NotSeen(None, "scans", "no rows"), NotSeen(None, "WAL", "others wrote")

    lines = told(rehearsed(not_seen=(everywhere,)), rehearsed(not_seen=(once, everywhere)))

    assert [line for line in lines if "not seen" in line] == [
        "    not seen: WAL: others wrote",
        "  not seen: scans: no rows",
    ]


def test_what_was_not_seen_and_what_is_left_behind_take_a_line_each():
    migration = rehearsed(
        not_seen=(NotSeen("public.t", "locks", "not allowed"), NotSeen(None, "WAL", "others wrote"))
    )

    lines = told(migration, residue=tuple(Residue("sequence", f"public.s{n}", 1, 2) for n in range(12)))

    assert "    not seen: locks of public.t: not allowed" in lines
    assert "    not seen: WAL: others wrote" in lines
    assert "left behind: sequence of public.s0: 1 → 2" in lines
    assert "and 2 more left behind" in lines


def test_a_narrow_terminal_gets_narrow_lines():
    migration = rehearsed(
        altering(
            exclusive(), exclusive("public.lines"), rewrites=("public.orders",), scans=("public.orders",)
        ),
        long_blocks=("public.orders",),
    )

    lines = told(migration, migration, room=50)

    assert max(map(len, lines)) <= 50
    assert "      blocks reads and writes of public.orders," in lines
    assert not any(line.endswith(" 1.2") for line in lines)


def test_what_no_terminal_shows_is_never_wrapped():
    lines = told(rehearsed(altering(exclusive("public." + "t" * 300))))

    assert max(map(len, lines)) > 300


def test_hostile_text_is_inert_everywhere():
    evil = "a\x1b[31m\u202e\n"
    lock = Lock(evil, "table", "ShareLock", ("writes",), 1.0)
    statement = StatementReport(
        1,
        evil,
        60.0,
        rewrites=(evil,),
        index_builds=(IndexBuild(evil, evil, new=True),),
        scans=(evil,),
        locks=(lock,),
        not_rehearsed=evil,
    )
    migration = rehearsed(
        statement, locks=(lock,), long_blocks=(evil,), not_seen=(NotSeen(evil, evil, evil),)
    )

    text = "\n".join(told(migration, migration, residue=(Residue(evil, evil, evil, evil),), room=60))

    assert not set(text) & set("\x1b\u202e")


@pytest.mark.parametrize(
    "count, said",
    [
        (0, "0 B"),
        (812, "812 B"),
        (8_192, "8.2 kB"),
        (999_600, "1.0 MB"),
        (48_200_000, "48.2 MB"),
        (150_000_000, "150 MB"),
        (3 * 10**12, "3.0 TB"),
    ],
)
def test_sizes_are_said_as_people_say_them(count, said):
    assert format_size(count) == said


def test_first_words_end_at_a_word():
    assert shorten_sql("ALTER  TABLE\n\torders", 20) == "ALTER TABLE orders"
    assert shorten_sql("ALTER TABLE orders ADD total numeric", 24) == "ALTER TABLE orders ADD…"
    assert shorten_sql("x" * 30, 10) == "x" * 9 + "…"


def test_one_more_name_is_shown_rather_than_counted():
    assert join_names(f"t{n}" for n in range(6)) == "t0, t1, t2, t3, t4, t5"
    assert join_names(f"t{n}" for n in range(7)) == "t0, t1, t2, t3, t4 and 2 more"


def test_the_docs_show_what_the_terminal_does():
    page = (Path(__file__).parents[2] / "docs" / "reports.md").read_text(encoding="utf-8")
    example = page.split("## At the terminal\n\n```\n")[1].split("```")[0]

    assert example in render(everyday())
