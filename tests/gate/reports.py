"""Reports for the gate, made by hand."""

from __future__ import annotations

from typing import Any

from confiture.config.gate_policy import GATE_KEYS, GatePolicy, read_policy
from confiture.config.table_reader import TableReader
from confiture.models.report import Finding, Lock, MigrationReport, Report, StatementReport

ORDERS = "public.orders"


def finding(rule: str = "index-not-concurrent", severity: Any = "error", **more: Any) -> Finding:
    facts: dict[str, Any] = {
        "migration": "1",
        "file": "migrations/1_jam.sql",
        "line": 3,
        "relation": ORDERS,
        "message": "builds an index",
        "recipe": None,
        "basis": "static",
        "ignored": False,
        "fingerprint": f"{rule} {more.get('file')} {more.get('line')}",
    }
    return Finding(rule=rule, severity=severity, **(facts | more))


def lock(held_ms: float | None, relation: str = ORDERS, **more: Any) -> Lock:
    return Lock(relation, "table", "ShareLock", ("writes",), held_ms=held_ms, **more)


def statement(line: int | None = 1, **more: Any) -> StatementReport:
    return StatementReport(line, f"ALTER TABLE orders ADD c{line} int", more.pop("duration_ms", 1.0), **more)


def migration(*statements: StatementReport, version: str = "1", **more: Any) -> MigrationReport:
    facts: dict[str, Any] = {
        "outcome": "rehearsed",
        "duration_ms": 10.0,
        "locks": tuple(lock for one in statements for lock in one.locks),
        "rewrites": tuple(rewrite for one in statements for rewrite in one.rewrites),
        "file": f"migrations/{version}_jam.sql",
    }
    return MigrationReport(version, "jam", statements=statements, **(facts | more))


def rehearsal(*migrations: MigrationReport, **more: Any) -> Report:
    facts: dict[str, Any] = {"mode": "dry-run", "outcome": "ok", "exit_code": 0, "server_version": "18.1"}
    return Report(migrations=migrations or (migration(),), **(facts | more))


def policy(**table: Any) -> GatePolicy:
    return read_policy(TableReader(table, GATE_KEYS))
