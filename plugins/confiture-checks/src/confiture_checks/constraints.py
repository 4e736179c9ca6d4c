"""Finds constraints that are NOT VALID on the tables that a migration touched.

PostgreSQL has checked every row for a validated constraint, and only new rows for one that is NOT VALID.
NOT ENFORCED constraints are left out: they say themselves that nobody checks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from confiture_checks.errors import NotValidated
from confiture_checks.queries import fetch_whole_number, open_read_only

# conenforced and conperiod are not there before PostgreSQL 18.
_NOT_VALID = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), quote_ident(k.conname),
        pg_get_constraintdef(k.oid), CASE k.contype
            WHEN 'c' THEN format('SELECT count(*) FROM %%s %%s WHERE NOT (%%s)',
                CASE WHEN k.connoinherit THEN 'ONLY' END, c.oid::regclass, pg_get_expr(k.conbin, c.oid))
            WHEN 'n' THEN format('SELECT count(*) FROM %%s %%s WHERE %%I IS NULL',
                CASE WHEN k.connoinherit THEN 'ONLY' END, c.oid::regclass, (
                    SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = k.conkey[1]))
            WHEN 'f' THEN (
                SELECT format('SELECT count(*) FROM %%s %%s f WHERE %%s AND NOT EXISTS '
                        '(SELECT FROM %%s %%s p WHERE %%s)',
                    CASE WHEN c.relkind <> 'p' THEN 'ONLY' END, c.oid::regclass,
                    CASE WHEN k.confmatchtype = 'f'
                        THEN 'NOT (' || string_agg(format('f.%%I IS NULL', f.attname), ' AND ') || ')'
                        ELSE string_agg(format('f.%%I IS NOT NULL', f.attname), ' AND ') END,
                    CASE WHEN t.relkind <> 'p' THEN 'ONLY' END, t.oid::regclass,
                    string_agg(format('p.%%I OPERATOR(%%I.%%s) f.%%I', p.attname, s.nspname, o.oprname,
                        f.attname), ' AND '))
                FROM unnest(k.conkey, k.confkey, k.conpfeqop) AS pair(referencing, referenced, operator)
                JOIN pg_attribute f ON f.attrelid = k.conrelid AND f.attnum = pair.referencing
                JOIN pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = pair.referenced
                JOIN pg_operator o ON o.oid = pair.operator JOIN pg_namespace s ON s.oid = o.oprnamespace
                WHERE to_jsonb(k) ->> 'conperiod' IS DISTINCT FROM 'true')
        END
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_class t ON t.oid = k.confrelid
    WHERE NOT k.convalidated AND to_jsonb(k) ->> 'conenforced' IS DISTINCT FROM 'false'
        AND quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY(%s)
    ORDER BY 1, 2
"""


@frozen
class NotValidConstraint:
    """A constraint that is NOT VALID.

    Attributes:
        table: Schema-qualified.
        name: Its own, quoted only where PostgreSQL would.
        definition: As the server writes it.
        counting: A query for the rows that violate it; ``None`` where there is none.
    """

    table: str
    name: str
    definition: str
    counting: str | None

    @property
    def label(self) -> str:
        """Its full name."""
        return f"{self.table}.{self.name}"


@frozen
class Doubt:
    """A NOT VALID constraint and the rows that violate it; ``None`` where they were not counted."""

    constraint: NotValidConstraint
    violations: int | None

    def __str__(self) -> str:
        """Say it in one line."""
        rows = "" if self.violations is None else f"; rows that violate it: {self.violations}"
        return f"{self.constraint.label} is not validated: {self.constraint.definition}{rows}"


def find_not_valid(conn: Connection[Any], tables: tuple[str, ...]) -> tuple[NotValidConstraint, ...]:
    """Return the constraints of these tables that are NOT VALID."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        return tuple(NotValidConstraint(*row) for row in cursor.execute(_NOT_VALID, [list(tables)]))


def count_violations(
    conn: Connection[Any], found: Sequence[NotValidConstraint], *, count: bool
) -> tuple[Doubt, ...]:
    """Return the constraints, with the rows that violate them where these are to be counted."""
    if not (found and count):
        return tuple(Doubt(constraint, None) for constraint in found)
    with open_read_only(conn):
        return tuple(Doubt(constraint, _fetch_violations(conn, constraint)) for constraint in found)


def _fetch_violations(conn: Connection[Any], constraint: NotValidConstraint) -> int | None:
    if constraint.counting is None:
        return None
    return fetch_whole_number(conn, constraint.counting, f"counting the rows that violate {constraint.label}")


def build_refusal(doubts: tuple[Doubt, ...]) -> NotValidated:
    """Return the error to raise for NOT VALID constraints."""
    first = doubts[0].constraint
    steps = "correct the rows that violate it, then " if any(doubt.violations for doubt in doubts) else ""
    return NotValidated(
        "; ".join(map(str, doubts)),
        constraints=tuple(doubt.constraint.label for doubt in doubts),
        hint=f"{steps}ALTER TABLE {first.table} VALIDATE CONSTRAINT {first.name}; to keep it "
        "NOT VALID for now, add it to plugin.checks.not_valid_allowed",
    )
