"""Reports made by hand, one full and some small."""

from __future__ import annotations

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
)

LOCK = Lock("public.orders", "table", "AccessExclusiveLock", ("reads", "writes"), held_ms=3.25)
BUILD = IndexBuild("public.orders_day", "public.orders", new=True)


def applied(version: str = "1", name: str = "jam", **changes: Any) -> MigrationReport:
    facts: dict[str, Any] = {"duration_ms": 12.3456789, "rows_affected": 3}
    return MigrationReport(version, name, "applied", **(facts | changes))


def report(*migrations: MigrationReport, **changes: Any) -> Report:
    facts: dict[str, Any] = {"mode": "run", "outcome": "ok", "exit_code": 0, "server_version": "18.1"}
    return Report(migrations=migrations, **(facts | changes))


def full() -> Report:
    """Return a report with something in every key."""
    statement = StatementReport(
        7,
        "ALTER TABLE orders …",
        1.5,
        0.5,
        3,
        8192,
        ("public.orders",),
        (BUILD,),
        ("public.orders",),
        (LOCK,),
    )
    migration = applied(
        reason="because",
        statements=(statement,),
        hooks=(HookReport("after_ddl", "backfill", "Fill", "kept", 4.0, 120, {"batches": 2}, (LOCK,)),),
        locks=(LOCK,),
        rewrites=("public.orders",),
        index_builds=(BUILD,),
        scans=("public.orders",),
        blocks=Blocks(("public.orders",), ("public.orders", "public.lines")),
        long_blocks=("public.orders",),
        not_seen=(NotSeen(None, "wal", "other sessions wrote too"),),
        error=Fault("no", "42P01", "detail", "hint", "1_jam.sql", 7, 12, "up", None),
        estimate=Estimate(True, None, "advice", 40.0, (30.0, 50.0), (20.0, 80.0), 70.0, "rows", 1.0),
        warnings=("settings were put back",),
        on_commit=("notify",),
        source_line="ALTER TABLE nope",
    )
    return report(
        migration,
        plugins=(PluginUse("backfill", "confiture-backfill", "0.1.0"),),
        findings=(
            Finding(
                "rewrite", "error", "1", "1_jam.sql", 7, "public.orders", "m", None, "measured", False, "f"
            ),
        ),
        residue=(Residue("sequence", "public.s", 1, 2),),
        rehearsed_on="18.1",
        error=Fault("everything stopped"),
        notes=("a note",),
    )
