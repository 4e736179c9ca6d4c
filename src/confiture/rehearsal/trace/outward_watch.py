"""Refuse a statement of a rehearsal that reaches outside of its transaction, before it is sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from attrs import define, field
from psycopg import Connection

from confiture.exceptions import ConfitureError
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.rehearsal.trace.catalog import Catalog
from confiture.rehearsal.trace.functions import ReachedBody, follow_calls
from confiture.sql.outward import (
    OUTWARD_WORDS,
    OutwardEffect,
    find_outward,
    find_outward_calls,
    find_outward_statements,
    find_written_tables,
    mentions_outward,
)
from confiture.sql.statement_kind import classify_statement, parse_leniently

# Tables with a trigger whose function, or a function that it calls, may reach outside. The text is a hint
# only: the parser then reads the functions.
# Not ~*: to estimate how many match, the planner would match the pattern with many function bodies.
# MATERIALIZED: else it matches each body again for each trigger.
_MENTIONS_SQL = f"regexp_match(p.prosrc, {quote_literal(OUTWARD_WORDS)}, 'i') IS NOT NULL"
_TRIGGERS_SQL = f"""
    WITH words AS MATERIALIZED (
        SELECT p.oid, p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal') AND {_MENTIONS_SQL}
    )
    SELECT DISTINCT t.tgrelid::bigint, quote_ident(n.nspname) || '.' || quote_ident(p.proname)
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND p.oid >= 16384 AND EXISTS (
        SELECT FROM words WHERE words.oid = p.oid OR position(words.proname IN p.prosrc) > 0)
"""


class ReachesOutside(ConfitureError):
    """A statement was not sent, because it reaches outside of its transaction."""

    def __init__(self, effect: OutwardEffect, function: str = "") -> None:
        super().__init__(describe_effect(effect, function))


def describe_effect(effect: OutwardEffect, function: str = "") -> str:
    """Return what would reach outside, and the function that does it, if any."""
    place = f" in {function}()" if function else ""
    return f"{effect.words}{place} {effect.does}"


# Statements that may change which triggers there are, or what their functions do.
_CHANGE_TRIGGERS = ("create_function_stmt", "create_trig_stmt", "do_stmt", "call_stmt", "alter_table_stmt")


@define
class OutwardWatch:
    """Finds what the statements of a rehearsal would do outside of their transaction.

    Attributes:
        conn: The migration's connection.
        scopes: The scopes that are refused; a copy isolates some.
        build_error: Makes the error from the effect and the function that has it, ``""`` if none.
    """

    conn: Connection[Any]
    scopes: Collection[str] = ("database", "server", "files", "network")
    build_error: Callable[[OutwardEffect, str], Exception] = ReachesOutside
    _triggers: dict[int, tuple[str, ...]] | None = field(default=None, init=False)
    _catalog: Catalog | None = field(default=None, init=False)
    _foreign: frozenset[int] = field(default=frozenset(), init=False)

    def note_ran(self, sql: str) -> None:
        """Forget the triggers if a statement that has run may have changed them."""
        if classify_statement(sql).node in _CHANGE_TRIGGERS:
            self._triggers = None

    def check(
        self, sql: str, bodies: Sequence[ReachedBody], catalog: Catalog, search_path: Sequence[str]
    ) -> None:
        """Refuse a statement that reaches outside, in a scope that is refused, by raising an error.

        Args:
            sql: The statement.
            bodies: Its text and the functions that it calls; none if it calls none.
            catalog: The relations before the migration.
            search_path: The schemas in which its names are looked up.
        """
        if not bodies and (effect := find_outward(sql)):
            self._refuse(effect)
        self._check_bodies(sql, bodies)
        kind = classify_statement(sql)
        if kind.is_query or kind.verb in ("DO", "TRUNCATE"):
            self._check_written(sql, bodies, catalog, search_path)

    def _check_bodies(self, sql: str, bodies: Iterable[ReachedBody]) -> None:
        reached = tuple(bodies)
        # A function of the user's that has such a name is read, and not taken for PostgreSQL's.
        own = {body.function.rsplit(".", 1)[-1].strip('"') for body in reached if body.function}
        for body in reached:
            nodes = [(inner.kind, inner.node) for inner in body.body.statements if inner.node is not None]
            if body.function is None and mentions_outward(sql):
                nodes += [(parsed.kind, parsed.node) for parsed in parse_leniently(sql)]
            for effect in (*find_outward_statements(nodes), *find_outward_calls(body.body.calls, own)):
                self._refuse(effect, body.function or "")

    def _check_written(
        self, sql: str, bodies: Sequence[ReachedBody], catalog: Catalog, search_path: Sequence[str]
    ) -> None:
        triggers, foreign = self._read_triggers(), self._find_foreign(catalog)
        if not triggers and not foreign:
            return
        nodes = [parsed.node for parsed in parse_leniently(sql)]
        nodes += [inner.node for body in bodies for inner in body.body.statements if inner.node is not None]
        written = {(table.schemaname, table.relname) for node in nodes for table in find_written_tables(node)}
        for schema, name in sorted(written):
            relation = catalog.resolve_name(schema or None, name, search_path)
            oids = (relation.oid, *catalog.find_descendants(relation.oid)) if relation else ()
            for oid in oids:
                if oid in foreign:
                    self._refuse(_describe_foreign(catalog.relations[oid].name))
                for function in triggers.get(oid, ()):
                    self._check_bodies("", follow_calls(self.conn, f"SELECT {function}()"))

    def _find_foreign(self, catalog: Catalog) -> frozenset[int]:
        if self._catalog is not catalog:
            self._catalog = catalog
            relations = catalog.relations.values()
            self._foreign = frozenset(relation.oid for relation in relations if relation.kind == "foreign")
        return self._foreign

    def _read_triggers(self) -> dict[int, tuple[str, ...]]:
        if self._triggers is None:
            self._triggers = {}
            for oid, function in fetch_rows(self.conn, _TRIGGERS_SQL):
                self._triggers[oid] = (*self._triggers.get(oid, ()), function)
        return self._triggers

    def _refuse(self, effect: OutwardEffect, function: str = "") -> None:
        if effect.scope in self.scopes:
            raise self.build_error(effect, function)


def _describe_foreign(name: str) -> OutwardEffect:
    return OutwardEffect(f"a write to the foreign table {name}", "reaches another server", "network")
