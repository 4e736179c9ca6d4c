"""Reports with something of every kind to tell, and how to render them."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from confiture.models.report import (
    Blocks,
    Estimate,
    Fault,
    Finding,
    MigrationReport,
    NotSeen,
    Report,
    StatementReport,
    Unavailable,
    Verdict,
)
from confiture.output.reporters import RenderContext, load_builtin_reporter

HERE = RenderContext("/shop", "/shop/db")
RECIPE = "CREATE INDEX CONCURRENTLY orders_day ON orders (day);"


def finding(**changes: Any) -> Finding:
    facts: dict[str, Any] = {
        "rule": "index-not-concurrent",
        "severity": "error",
        "migration": "2",
        "file": "migrations/2_fig.sql",
        "line": 7,
        "relation": "public.orders",
        "message": "builds an index of public.orders (1.2 s) while blocking writes",
        "recipe": RECIPE,
        "basis": "measured",
        "ignored": False,
        "fingerprint": "0123456789abcdef0123456789abcdef",
    }
    return Finding(**(facts | changes))


def migration(version: str = "2", name: str = "fig", **changes: Any) -> MigrationReport:
    facts: dict[str, Any] = {
        "outcome": "rehearsed",
        "duration_ms": 1250.0,
        "rows_affected": 3,
        "blocks": Blocks((), ("public.orders",)),
        "file": f"/shop/db/migrations/{version}_{name}.sql",
    }
    return MigrationReport(version, name, **(facts | changes))


def report(*findings: Finding, **changes: Any) -> Report:
    facts: dict[str, Any] = {
        "mode": "dry-run",
        "outcome": "ok",
        "exit_code": 1 if findings else 0,
        "server_version": "18.1",
        "rehearsed_on": "18.1",
        "migrations": (migration("1", "jam"), migration()),
        "findings": findings,
    }
    return Report(**(facts | changes))


WARNING = finding(
    rule="drop-column",
    severity="warning",
    line=9,
    message="drops a column",
    recipe=None,
    fingerprint="b" * 32,
)
IGNORED = finding(rule="rename-table", line=11, message="renames", ignored=True, fingerprint="c" * 32)
FAILED = migration(
    "3",
    "quince",
    outcome="failed",
    error=Fault(
        'relation "nope" does not exist',
        "42P01",
        hint="create it",
        file="/shop/db/migrations/3_quince.sql",
        line=4,
        column=13,
    ),
)
UNSEEN = migration(
    "4",
    "rose",
    statements=(StatementReport(5, "ALTER TYPE …", 1.0, not_rehearsed="unsafe use of a new enum value"),),
    not_seen=(NotSeen("public.orders", "wal_bytes", "other sessions wrote too"),),
)


def everything() -> Report:
    """Return a report with a finding of each kind, a failure, and what could not be seen."""
    return report(
        finding(),
        WARNING,
        IGNORED,
        outcome="failed",
        exit_code=4,
        migrations=(migration("1", "jam"), migration(), FAILED, UNSEEN),
    )


def refusal() -> Report:
    """Return what is reported where nothing was begun."""
    fault = Fault("there is no such thing", hint="look", file="migrations/1_jam.sql", line=2, column=3)
    return Report("dry-run", "refused", 4, error=fault)


def rendered(name: str, told: Report, context: RenderContext = HERE) -> str:
    return load_builtin_reporter(name).render(told, context)


def hostile(text: str) -> Report:
    """Return a report that says ``text`` wherever a name, a message or SQL of a user's may stand."""
    fault = Fault(text, "42P01", text, text, f"/shop/{text}", 4, 13, "up", text)
    one = migration(
        text,
        text,
        outcome="failed",
        reason=text,
        error=fault,
        blocks=Blocks((text,), (text,)),
        statements=(StatementReport(5, text, 1.0, not_rehearsed=text),),
        not_seen=(NotSeen(text, text, text),),
        file=f"/shop/{text}",
        warnings=(text,),
    )
    found = finding(
        rule=text, migration=text, file=text, relation=text, message=text, recipe=text, fingerprint=text
    )
    one = evolve(
        one, estimate=Estimate(False, text, text), unavailable=(Unavailable(text, None, Estimate(False)),)
    )
    return report(
        found,
        evolve(found, ignored=True),
        outcome="failed",
        exit_code=4,
        migrations=(one,),
        error=fault,
        verdict=Verdict(False, text, text),
    )
