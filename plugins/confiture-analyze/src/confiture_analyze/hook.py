"""The hooks: measure before a migration changes anything, analyze after its commit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen
from psycopg import Cursor
from psycopg.rows import tuple_row

from confiture import HookContext, HookResult, hookimpl
from confiture_analyze.analyze_tables import PendingAnalyze
from confiture_analyze.relation_sizes import (
    ChangedRelation,
    RelationSize,
    find_configured,
    find_qualified,
    get_size,
    measure,
    read_catalog,
)
from confiture_analyze.settings import CONFIG_KEYS, AnalyzeSettings, read_settings

if TYPE_CHECKING:
    from psycopg import Connection

_TRANSACTION = "SELECT transaction_timestamp()::text, current_setting('role')"


@frozen
class SizesBefore:
    """What ``before_ddl`` leaves for ``cleanup``.

    Attributes:
        transaction_start: When the transaction of ``before_ddl`` began.
        sizes: The sizes at that time, by oid.
    """

    transaction_start: str | None = None
    sizes: Mapping[int, RelationSize] = field(factory=dict)


@frozen
class AnalyzeChanged:
    """Analyzes what a migration has changed, forward or backward.

    Attributes:
        config_keys: What its table of settings may hold.
    """

    config_keys: ClassVar[dict[str, str]] = CONFIG_KEYS

    @hookimpl
    def before_ddl(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Record rows and sizes before the migration changes them."""
        settings = read_settings(context.config)
        if not settings.enabled:
            return None
        relations = find_configured(conn, settings)
        sizes = _measure(conn, settings, relations)
        transaction_start, _ = _read_transaction(conn)
        context.data[_data_key(context)] = SizesBefore(transaction_start, sizes)
        tables = {relation.name: _make_entry("", get_size(sizes, relation)) for relation in relations}
        return HookResult("BEFORE_DDL", "NoteSizes", stats={"tables": tables}) if tables else None

    @hookimpl(trylast=True)
    def cleanup(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Arrange for what was changed to be analyzed after the commit, and report it."""
        settings = read_settings(context.config)
        if not settings.enabled:
            return None
        before = context.data.get(_data_key(context)) or SizesBefore()
        transaction_start, role = _read_transaction(conn)
        same_transaction = transaction_start == before.transaction_start
        if not settings.tables and not same_transaction:
            return _report_unknown_changes(context)
        relations = _find_changed(conn, context, settings, same_transaction=same_transaction)
        entries = _make_entries(conn, context, settings, before, relations)
        if relations:
            measure_again = partial(_measure, conn, settings, relations)
            context.on_commit(PendingAnalyze(conn, relations, role, measure_again, entries))
        return HookResult("CLEANUP", "AnalyzeChanged", stats={"tables": entries})


def _data_key(context: HookContext) -> str:
    # A hook may write only under the name that its plugin is registered by, which an application may choose.
    return context.data.writer or "analyze"


def _read_transaction(conn: Connection[Any]) -> tuple[str, str]:
    """Return when the transaction began, and its role."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        ((start, role),) = cursor.execute(_TRANSACTION).fetchall()
    return str(start), str(role)


def _measure(
    conn: Connection[Any], settings: AnalyzeSettings, relations: tuple[ChangedRelation, ...]
) -> dict[int, RelationSize]:
    if not settings.tables:
        return read_catalog(conn)
    return measure(conn, relations, exact_rows=settings.exact_rows)


def _report_unknown_changes(context: HookContext) -> HookResult:
    reason = "what a no-transaction migration has changed is not known; name tables in plugin.analyze.tables"
    context.log.warning("changes.unknown", reason=reason)
    return HookResult("CLEANUP", "AnalyzeChanged", stats={"tables": {}, "unknown": reason})


def _find_changed(
    conn: Connection[Any], context: HookContext, settings: AnalyzeSettings, *, same_transaction: bool
) -> tuple[ChangedRelation, ...]:
    """Return what to analyze: all configured tables if each phase had a separate transaction."""
    if not same_transaction:
        return find_configured(conn, settings)
    changed = find_qualified(conn, context.relations())
    if settings.tables:
        oids = {relation.oid for relation in changed}
        return tuple(relation for relation in find_configured(conn, settings) if relation.member_oids & oids)
    # ANALYZE of a partitioned table analyzes its partitions too.
    return tuple(
        relation
        for relation in changed
        if not any(relation.oid in other.member_oids for other in changed if other != relation)
    )


def _make_entries(
    conn: Connection[Any],
    context: HookContext,
    settings: AnalyzeSettings,
    before: SizesBefore,
    relations: tuple[ChangedRelation, ...],
) -> dict[str, dict[str, int | None]]:
    """Return what is known before the commit.

    The callback completes the same dictionaries after the commit, and the report is written after that.
    """
    # To count now would make the migration hold its locks for longer; a rehearsal never commits.
    exact_rows = settings.exact_rows and context.dry_run
    now = measure(conn, relations, exact_rows=exact_rows) if settings.tables else {}
    return {
        relation.name: _make_entry("_before", get_size(before.sizes, relation))
        | _make_entry("_after", _drop_estimate(get_size(now, relation), exact_rows))
        for relation in relations
    }


def _drop_estimate(size: RelationSize, exact_rows: bool) -> RelationSize:
    """Return the size without estimated rows: the estimate is older than the migration."""
    return size if exact_rows else RelationSize(None, size.size_bytes)


def _make_entry(suffix: str, size: RelationSize) -> dict[str, int | None]:
    return {f"rows{suffix}": size.rows, f"bytes{suffix}": size.size_bytes}
