"""The hooks: what is noted before a migration changes anything, and what is arranged at its end."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen

from confiture import HookContext, HookResult, hookimpl
from confiture_analyze.analyzing import Analyze
from confiture_analyze.configured import CONFIG_KEYS, Configured, configured
from confiture_analyze.figures import Figures, Relation, called, from_catalog, measured, named, of

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
        """Note rows and sizes while they are what they were."""
        wanted = configured(context.config)
        if not wanted.on:
            return None
        relations = named(conn, wanted.tables)
        figures = _figures(conn, wanted, relations, exact=wanted.exact_rows)
        context.data[_own(context)] = Noted(_began(conn)[0], figures)
        tables = {relation.name: _entry("", of(figures, relation)) for relation in relations}
        return HookResult("BEFORE_DDL", "NoteSizes", stats={"tables": tables}) if tables else None

    @hookimpl(trylast=True)
    def cleanup(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Ask for what was changed to be analyzed after the commit, and report it."""
        wanted = configured(context.config)
        if not wanted.on:
            return None
        noted = context.data.get(_own(context)) or Noted()
        began, role = _began(conn)
        if not wanted.tables and began != noted.began:
            return _unknown(context)
        relations = _changed(conn, context, wanted, together=began == noted.began)
        entries = _entries(conn, context, wanted, noted, relations)
        if relations:
            look = partial(_figures, conn, wanted, relations, exact=wanted.exact_rows)
            context.on_commit(Analyze(conn, relations, role, look, entries))
        return HookResult("CLEANUP", "AnalyzeChanged", stats={"tables": entries})


def _own(context: HookContext) -> str:
    # Under the name that it is registered by, which an application may choose.
    return context.data.writer or "analyze"


def _began(conn: Connection[Any]) -> tuple[str, str]:
    from psycopg import Cursor
    from psycopg.rows import tuple_row

    with Cursor(conn, row_factory=tuple_row) as cursor:
        ((began, role),) = cursor.execute(_BEGAN).fetchall()
    return str(began), str(role)


def _figures(
    conn: Connection[Any], wanted: Configured, relations: tuple[Relation, ...], *, exact: bool
) -> dict[int, Figures]:
    return measured(conn, relations, exact=exact) if wanted.tables else from_catalog(conn)


def _unknown(context: HookContext) -> HookResult:
    why = "what a no-transaction migration has changed is not known; name tables in plugin.analyze.tables"
    context.log.warning("changes.unknown", reason=why)
    return HookResult("CLEANUP", "AnalyzeChanged", stats={"tables": {}, "unknown": why})


def _changed(
    conn: Connection[Any], context: HookContext, wanted: Configured, *, together: bool
) -> tuple[Relation, ...]:
    """Return what is to be analyzed; without ``link_plan`` all that is named, for the rest is not known."""
    if not together:
        return named(conn, wanted.tables)
    changed = called(conn, context.relations())
    if wanted.tables:
        oids = {relation.oid for relation in changed}
        return tuple(relation for relation in named(conn, wanted.tables) if relation.members & oids)
    # Whoever analyzes a partitioned table analyzes its partitions.
    return tuple(
        relation
        for relation in changed
        if not any(relation.oid in other.members for other in changed if other != relation)
    )


def _entries(
    conn: Connection[Any],
    context: HookContext,
    wanted: Configured,
    noted: Noted,
    relations: tuple[Relation, ...],
) -> dict[str, dict[str, int | None]]:
    """Return what is known before the commit; afterwards the same dictionaries are completed.

    The report is made after that: it shows what they hold then.
    """
    # Counting now would keep the migration's locks for longer; a rehearsal has no afterwards.
    exact = wanted.exact_rows and context.dry_run
    now = measured(conn, relations, exact=exact) if wanted.tables else {}
    return {
        relation.name: _entry("_before", of(noted.figures, relation))
        | _entry("_after", _so_far(of(now, relation), exact))
        for relation in relations
    }


def _so_far(figures: Figures, exact: bool) -> Figures:
    """Leave out an estimate that is older than the migration."""
    return figures if exact else Figures(None, figures.size_bytes)


def _entry(when: str, figures: Figures) -> dict[str, int | None]:
    return {f"rows{when}": figures.rows, f"bytes{when}": figures.size_bytes}
