"""The hooks: measure before a migration, and ask for ANALYZE after its commit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen

from confiture import HookContext, HookResult, hookimpl
from confiture_analyze.analyze_tables import Analyze
from confiture_analyze.figures import (
    AnalyzedRelation,
    Figures,
    find_named,
    find_relations,
    get_figures,
    measure,
    read_catalog,
)
from confiture_analyze.settings import CONFIG_KEYS, AnalyzeSettings, read_settings

if TYPE_CHECKING:
    from psycopg import Connection

_BEGAN = "SELECT transaction_timestamp()::text AS began, current_setting('role') AS role"


@frozen
class Noted:
    """What ``before_ddl`` leaves for ``cleanup``.

    Attributes:
        began: When its transaction did.
        figures: What there was, by oid.
    """

    began: str | None = None
    figures: Mapping[int, Figures] = field(factory=dict)


@frozen
class AnalyzeChanged:
    """Analyzes what a migration has changed, forward or backward.

    Attributes:
        config_keys: What its table of the configuration may hold.
    """

    config_keys: ClassVar[dict[str, str]] = CONFIG_KEYS

    @hookimpl
    def before_ddl(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Note rows and sizes before anything changes."""
        settings = read_settings(context.config)
        if not settings.on:
            return None
        relations = find_named(conn, settings.tables)
        figures = _measure(conn, settings, relations, exact=settings.exact_rows)
        context.data[_get_own_name(context)] = Noted(_read_begin(conn)[0], figures)
        tables = {relation.name: _make_entry("", get_figures(figures, relation)) for relation in relations}
        return HookResult("BEFORE_DDL", "NoteSizes", stats={"tables": tables}) if tables else None

    @hookimpl(trylast=True)
    def cleanup(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Ask for what was changed to be analyzed after the commit, and report it."""
        settings = read_settings(context.config)
        if not settings.on:
            return None
        noted = context.data.get(_get_own_name(context)) or Noted()
        began, role = _read_begin(conn)
        if not settings.tables and began != noted.began:
            return _report_unknown(context)
        relations = _find_changed(conn, context, settings, together=began == noted.began)
        entries = _make_entries(conn, context, settings, noted, relations)
        if relations:
            look = partial(_measure, conn, settings, relations, exact=settings.exact_rows)
            context.on_commit(Analyze(conn, relations, role, look, entries))
        return HookResult("CLEANUP", "AnalyzeChanged", stats={"tables": entries})


def _get_own_name(context: HookContext) -> str:
    # Under the name that it is registered by, which an application may choose.
    return context.data.writer or "analyze"


def _read_begin(conn: Connection[Any]) -> tuple[str, str]:
    from psycopg import Cursor
    from psycopg.rows import tuple_row

    with Cursor(conn, row_factory=tuple_row) as cursor:
        ((began, role),) = cursor.execute(_BEGAN).fetchall()
    return str(began), str(role)


def _measure(
    conn: Connection[Any], settings: AnalyzeSettings, relations: tuple[AnalyzedRelation, ...], *, exact: bool
) -> dict[int, Figures]:
    return measure(conn, relations, exact=exact) if settings.tables else read_catalog(conn)


def _report_unknown(context: HookContext) -> HookResult:
    why = "what a no-transaction migration has changed is not known; name tables in plugin.analyze.tables"
    context.log.warning("changes.unknown", reason=why)
    return HookResult("CLEANUP", "AnalyzeChanged", stats={"tables": {}, "unknown": why})


def _find_changed(
    conn: Connection[Any], context: HookContext, settings: AnalyzeSettings, *, together: bool
) -> tuple[AnalyzedRelation, ...]:
    """Return the relations to analyze.

    Without ``together``, each phase had its own transaction: what was changed is not known, so all find_named
    tables are returned.
    """
    if not together:
        return find_named(conn, settings.tables)
    changed = find_relations(conn, context.relations())
    if settings.tables:
        oids = {relation.oid for relation in changed}
        return tuple(relation for relation in find_named(conn, settings.tables) if relation.members & oids)
    # ANALYZE of a partitioned table analyzes its partitions too.
    return tuple(
        relation
        for relation in changed
        if not any(relation.oid in other.members for other in changed if other != relation)
    )


def _make_entries(
    conn: Connection[Any],
    context: HookContext,
    settings: AnalyzeSettings,
    noted: Noted,
    relations: tuple[AnalyzedRelation, ...],
) -> dict[str, dict[str, int | None]]:
    """Return what is known before the commit; afterwards the same dictionaries are completed.

    The report is made after that: it shows what they hold then.
    """
    # Counting now would keep the migration's locks for longer; a rehearsal has no afterwards.
    exact = settings.exact_rows and context.dry_run
    now = measure(conn, relations, exact=exact) if settings.tables else {}
    return {
        relation.name: _make_entry("_before", get_figures(noted.figures, relation))
        | _make_entry("_after", _drop_old_estimate(get_figures(now, relation), exact))
        for relation in relations
    }


def _drop_old_estimate(figures: Figures, exact: bool) -> Figures:
    """Leave out an estimate that is older than the migration."""
    return figures if exact else Figures(None, figures.size_bytes)


def _make_entry(when: str, figures: Figures) -> dict[str, int | None]:
    return {f"rows{when}": figures.rows, f"bytes{when}": figures.size_bytes}
