"""Databases of every size without a server, and an export that does not take its time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from attrs import evolve

from confiture.config.settings import Settings
from confiture.estimate.export import export
from confiture.estimate.statement_estimate import RehearsedStatement
from confiture.estimate.statistics import (
    ColumnStatistics,
    Index,
    Probe,
    RelationStatistics,
    ServerFacts,
    Statistics,
    Transactions,
    Trigger,
)
from confiture.models.report import IndexBuild, Lock, StatementReport

ORDERS = "public.orders"
LOCKED = Lock(ORDERS, "table", "AccessExclusiveLock", ("reads", "writes"))


def export_quickly(settings: Settings) -> Statistics:
    """Return an export whose samples and probe take no time."""
    return export(settings, sampled_s=0.0, probed_s=0.0)


def build_table(rows: float | None, name: str = ORDERS, **more: Any) -> RelationStatistics:
    """Return a table of forty rows a page."""
    shape = {
        "kind": "table",
        "parent": None,
        "rows": rows,
        "pages": int((rows or 0) / 40),
        "toast_bytes": 0,
        "analyzed_at": None,
        "indexes": (build_index("orders_pkey"),),
        "columns": (ColumnStatistics("id", "integer", 4, -1.0, 0.0),),
    }
    return RelationStatistics(name, **{**shape, **more})


def build_index(name: str) -> Index:
    """Return an index by that name."""
    return Index(
        name, f"CREATE INDEX {name} ON public.orders USING btree (id)", "btree", 8192, False, False, False
    )


def build_trigger(per_row: bool = True, enabled: bool = True) -> Trigger:
    """Return a trigger of updates."""
    return Trigger("each_order", ("update",), per_row, enabled)


def build_statistics(
    *relations: RelationStatistics, ages_s: tuple[float, ...] = (), hidden: int = 0, **settings: Any
) -> Statistics:
    """Return a database of these relations."""
    known = {"shared_buffers": 128 * 1024**2, "work_mem": 4 * 1024**2, **settings}
    return Statistics(
        taken_at=datetime(2026, 11, 23, tzinfo=UTC),
        server=ServerFacts("18.1", 8192),
        settings=known,
        relations={relation.name: relation for relation in relations},
        transactions=Transactions(3.0, ages_s, hidden),
        probe=Probe(400.0, 0.1),
    )


def build_statement(
    sql: str = "ALTER TABLE orders ALTER id TYPE bigint", ms: float = 500.0, **seen: Any
) -> StatementReport:
    """Return a statement that was rehearsed: a rewrite where nothing else is said of it."""
    if not seen:
        seen = {"rewrites": (ORDERS,), "scans": (ORDERS,), "locks": (LOCKED,)}
    return StatementReport(1, sql, ms, 0.0, **seen)


def build_rehearsal(
    rows: float | None = 100_000, ran: StatementReport | None = None, **more: Any
) -> RehearsedStatement:
    """Return a statement's rehearsal on so many orders."""
    return RehearsedStatement(build_statistics(build_table(rows, **more)), (ran or build_statement(),))


def build_index_statement() -> StatementReport:
    """Return an index build of orders."""
    builds = (IndexBuild("public.by_id", ORDERS, True),)
    return build_statement(
        "CREATE INDEX by_id ON orders (id)", index_builds=builds, scans=(ORDERS,), locks=(LOCKED,)
    )


def grow(here: Statistics, times: float, **changes: Any) -> Statistics:
    """Return a database of the same shape with so many times the rows."""
    relations = {
        name: evolve(
            relation,
            rows=None if relation.rows is None else relation.rows * times,
            pages=int(relation.pages * times),
            toast_bytes=int(relation.toast_bytes * times),
            visible_pages=int((relation.visible_pages or 0) * times),
        )
        for name, relation in here.relations.items()
    }
    return evolve(here, **{"relations": relations, **changes})
