"""Reports made by hand, such as a rehearsal makes: everyday ones, very wide ones, hostile ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confiture.models.report import (
    Blocks,
    Estimate,
    Fault,
    Finding,
    HookReport,
    IndexBuild,
    Lock,
    MigrationReport,
    NotSeen,
    PluginUse,
    Report,
    Residue,
    StatementReport,
    Verdict,
)

BOTH = ("reads", "writes")
ODD = '"<script>alert(1)</script>\x1b[31m\u202e & Ünï"'
LONG = "a_very_long_schema_name_of_the_whole_department." + "an_even_longer_table_name_" * 3


def exclusive(relation: str, held_ms: float | None, **more: Any) -> Lock:
    return Lock(
        relation, more.pop("kind", "table"), "AccessExclusiveLock", more.pop("blocks", BOTH), held_ms, **more
    )


def share(relation: str, held_ms: float | None, **more: Any) -> Lock:
    return Lock(relation, "table", "ShareRowExclusiveLock", ("writes",), held_ms, **more)


def index(relation: str, held_ms: float | None) -> Lock:
    return Lock(relation, "index", "AccessExclusiveLock", (), held_ms)


def rehearsal(*migrations: MigrationReport, **changes: Any) -> Report:
    facts: dict[str, Any] = {
        "outcome": "ok",
        "exit_code": 0,
        "server_version": "18.1",
        "rehearsed_on": "18.1",
    }
    return Report("dry-run", migrations=migrations, **(facts | changes))


def rewriting() -> MigrationReport:
    """Return a migration that rewrites a table under its strongest lock, with hooks round it."""
    orders = exclusive("public.orders", 1245.0)
    pkey = index("public.orders_pkey", 1244.0)
    toast = exclusive("pg_toast.pg_toast_16402", 1244.0, kind="toast", blocks=())
    customers = share("public.customers", 310.0)
    lines = share("public.order_lines", 45.0, transient=True)
    builds = (
        IndexBuild("public.orders_pkey", "public.orders", new=False),
        IndexBuild("public.orders_day", "public.orders", new=False),
    )
    statements = (
        StatementReport(3, "SELECT 1", 0.3, 0.0, wal_bytes=0),
        StatementReport(
            5,
            "ALTER TABLE orders\n  ALTER COLUMN total TYPE numeric(12, 2),\n  ADD COLUMN placed_at timestamptz NOT NULL DEFAULT clock_timestamp()",
            905.0,
            2.5,
            None,
            48_200_000,
            ("public.orders",),
            builds,
            ("public.orders",),
            (orders, pkey, toast),
        ),
        StatementReport(
            9,
            "ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customers",
            122.0,
            0.0,
            None,
            8_192,
            (),
            (),
            ("public.orders",),
            (customers,),
        ),
        StatementReport(
            12,
            "DO $$ BEGIN PERFORM touch_lines(); EXCEPTION WHEN others THEN NULL; END $$",
            46.0,
            0.0,
            locks=(lines,),
        ),
        StatementReport(
            14,
            "UPDATE orders SET placed_at = created_at WHERE created_at < '2026-01-01'",
            88.0,
            0.0,
            1_200,
            912_000,
            scans=("public.orders",),
        ),
        StatementReport(
            15,
            "COMMENT ON COLUMN orders.placed_at IS 'when the customer pressed the button'",
            0.6,
            0.0,
            wal_bytes=240,
        ),
    )
    hooks = (
        HookReport("before_ddl", "guard", "Guard.before_ddl", "kept", 3.1),
        HookReport("after_ddl", "backfill", "fill", "kept", 42.0, 1_200, {"batches": 2, "key": "id"}),
        HookReport("after_validation", None, "CheckTotals", "undone", 11.0),
    )
    return MigrationReport(
        "0002",
        "placed_at",
        "rehearsed",
        duration_ms=1250.0,
        rows_affected=1_200,
        statements=statements,
        hooks=hooks,
        locks=(orders, pkey, toast, customers, lines),
        rewrites=("public.orders",),
        index_builds=builds,
        scans=("public.orders",),
        blocks=Blocks(("public.orders",), ("public.orders", "public.customers")),
        long_blocks=("public.orders",),
        not_seen=(
            NotSeen(
                "public.old_orders", "the lock's mode", "it was already held by 0001 at least as strongly"
            ),
        ),
        estimate=Estimate(
            True,
            None,
            "rehearse on a copy with more rows to narrow this",
            42_000.0,
            (36_000.0, 51_000.0),
            (25_000.0, 88_000.0),
            70.0,
            "rows of public.orders",
        ),
        warnings=("plugin backfill changed work_mem, it was put back",),
        on_commit=("notify.send_mail",),
    )


def quick(version: str = "0001", name: str = "add_note") -> MigrationReport:
    """Return a migration that holds a strong lock for a moment."""
    notes = exclusive("public.notes", 4.1)
    return MigrationReport(
        version,
        name,
        "rehearsed",
        duration_ms=5.0,
        rows_affected=0,
        statements=(
            StatementReport(
                1, "ALTER TABLE notes ADD COLUMN author text", 1.1, 0.0, None, 400, locks=(notes,)
            ),
        ),
        locks=(notes,),
        blocks=Blocks(("public.notes",), ("public.notes",)),
        estimate=Estimate(False, "no statistics of earlier runs", "confiture estimates adopt"),
    )


def everyday() -> Report:
    """Return a rehearsal as it is most days, with something in every part of the page."""
    left_out = MigrationReport(
        "0003",
        "index_concurrently",
        "not_rehearsed",
        "line 1: CREATE INDEX CONCURRENTLY cannot run inside a transaction",
    )
    return rehearsal(
        quick(),
        rewriting(),
        left_out,
        verdict=Verdict(
            False,
            "gate: failed (1 error): change-type-rewrite at migrations/0002_placed_at.sql:5",
            "do less at a time",
        ),
        plugins=(
            PluginUse("guard", "confiture-guard", "0.1.0"),
            PluginUse("backfill", "confiture-backfill", "0.1.0"),
        ),
        findings=(
            Finding(
                "change-type-rewrite",
                "error",
                "0002",
                "migrations/0002_placed_at.sql",
                5,
                "public.orders",
                "public.orders is rewritten while its reads and writes wait",
                "ALTER TABLE orders ADD COLUMN total_new numeric(12, 2);\n-- fill it in batches, then swap the names",
                "measured",
                False,
                "f1",
            ),
            Finding(
                "no-statement-timeout",
                "info",
                "0002",
                "migrations/0002_placed_at.sql",
                1,
                None,
                "no statement_timeout is set",
                None,
                "static",
                True,
                "f2",
            ),
        ),
        residue=(
            Residue("sequence", "public.orders_id_seq", 1200, 2400),
            Residue("relpages", "public.orders", 812, 1640),
        ),
        notes=("All migrations of a rehearsal see one now().",),
    )


def wide(lanes: int) -> Report:
    """Return a rehearsal that locks very many relations, one statement each."""
    begin = [10.0 * number for number in range(lanes)]
    total_ms = 10.0 * lanes
    kinds: list[Callable[[str, float], Lock]] = [exclusive, share, index]
    locks = [kinds[n % 3](f"public.events_{n:04}", total_ms - at) for n, at in enumerate(begin)]
    statements = tuple(
        StatementReport(n + 1, f"DROP TABLE events_{n:04}", 10.0, 0.0, None, 8_192, locks=(lock,))
        for n, lock in enumerate(locks)
    )
    return rehearsal(
        MigrationReport(
            "0009",
            "drop_events",
            "rehearsed",
            duration_ms=total_ms,
            statements=statements,
            locks=tuple(locks),
        )
    )


def odd() -> Report:
    """Return a rehearsal whose names and texts are hostile, or much too long."""
    locks = (
        exclusive(f"public.{ODD}", 900.0),
        share(LONG, 400.0, seen="sampled"),
        exclusive("public.t", None, seen="held-before"),
    )
    sql = f"ALTER TABLE {ODD} ADD COLUMN c text DEFAULT '</pre></style></title><img src=x>{'x' * 400}'"
    return rehearsal(
        MigrationReport(
            "20261123010203",
            f"{ODD}{'n' * 120}",
            "failed",
            duration_ms=1000.0,
            reason=ODD,
            statements=(
                StatementReport(None, sql, 600.0, 1.5, locks=locks[:2]),
                StatementReport(4, f"SELECT '{LONG}'", 300.0, locks=locks[2:], not_rehearsed=ODD),
            ),
            hooks=(HookReport("before_ddl", ODD, LONG, "undone", 90.0, stats={ODD: LONG}),),
            locks=locks,
            warnings=(ODD,),
            not_seen=(NotSeen(None, ODD, LONG),),
            long_blocks=(f"public.{ODD}",),
            error=Fault(f"no\n{ODD}", "42P01", ODD, ODD, f"migrations/{LONG}.sql", 7, 30, "up", ODD),
            source_line=sql,
        ),
        outcome="failed",
        exit_code=4,
        server_version=ODD,
        rehearsed_on=ODD,
        plugins=(PluginUse(ODD, ODD, "1"),),
        residue=(Residue(ODD, LONG, ODD, None),),
        error=Fault(ODD),
        verdict=Verdict(False, ODD, ODD),
        notes=(ODD,),
        findings=(Finding(ODD, "warning", ODD, LONG, 1, LONG, ODD, ODD, "static", False, "f"),),
    )


def refused() -> Report:
    return Report(
        "run", "refused", 6, error=Fault("another run holds the lock", hint="wait for it, or --lock-wait")
    )


def failed_run() -> Report:
    done = MigrationReport(
        "1", "jam", "applied", duration_ms=12.3, rows_affected=3, locks=(exclusive("public.jam", None),)
    )
    broken = MigrationReport(
        "2",
        "fig",
        "failed",
        duration_ms=4.0,
        error=Fault("no such table", "42P01", file="migrations/2_fig.sql", line=7, column=12),
        source_line="ALTER TABLE nope ADD i int",
    )
    return Report(
        "run", "failed", 4, "18.1", migrations=(done, broken, MigrationReport("3", "plum", "pending"))
    )


def down() -> Report:
    return Report(
        "down", "ok", 0, "18.1", migrations=(MigrationReport("3", "plum", "reverted", duration_ms=0.0),)
    )


EVERY = {
    "everyday": everyday(),
    "30 lanes": wide(30),
    "324 lanes": wide(324),
    "odd names": odd(),
    "refused": refused(),
    "failed run": failed_run(),
    "down": down(),
    "nothing": rehearsal(),
}
