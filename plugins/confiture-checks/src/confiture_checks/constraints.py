"""Find the NOT VALID constraints of changed tables, and count the rows that violate them.

A validated constraint holds: the server has checked every row. A NOT VALID one was checked for new rows
only. A NOT ENFORCED one is never checked and does not claim to be: it is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from confiture_checks.errors import ConstraintNotValid
from confiture_checks.queries import fetch_whole_number, forbid_writes

# Read through to_jsonb, because PostgreSQL before 18 has no columns conenforced and conperiod.
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
        table: The table's name with its schema.
        name: The constraint's name, quoted only if PostgreSQL would.
        definition: As the server writes it.
        counting_query: A query for the number of rows that violate it; ``None`` if there is none.
    """

    table: str
    name: str
    definition: str
    counting_query: str | None

    @property
    def label(self) -> str:
        """The constraint's full name."""
        return f"{self.table}.{self.name}"


@frozen
class ConstraintViolations:
    """A NOT VALID constraint and how many rows violate it.

    Attributes:
        constraint: The constraint.
        rows: How many rows violate it; ``None`` if they were not counted.
    """

    constraint: NotValidConstraint
    rows: int | None

    def __str__(self) -> str:
        """Return one line for an error message."""
        rows = "" if self.rows is None else f"; rows that violate it: {self.rows}"
        return f"{self.constraint.label} is not validated: {self.constraint.definition}{rows}"


def find_not_valid(conn: Connection[Any], tables: tuple[str, ...]) -> tuple[NotValidConstraint, ...]:
    """Return the NOT VALID constraints of these tables."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        return tuple(NotValidConstraint(*row) for row in cursor.execute(_NOT_VALID, [list(tables)]))


def count_violations(
    conn: Connection[Any], constraints: Sequence[NotValidConstraint]
) -> tuple[ConstraintViolations, ...]:
    """Return each constraint with the number of rows that violate it."""
    with forbid_writes(conn):
        return tuple(ConstraintViolations(constraint, _count(conn, constraint)) for constraint in constraints)


def _count(conn: Connection[Any], constraint: NotValidConstraint) -> int | None:
    if constraint.counting_query is None:
        return None
    place = f"counting the rows that violate {constraint.label}"
    return fetch_whole_number(conn, constraint.counting_query, place)


def make_error(violations: tuple[ConstraintViolations, ...]) -> ConstraintNotValid:
    """Return the error that stops a migration because of these constraints."""
    first = violations[0].constraint
    correction = "correct the rows that violate it, then " if any(found.rows for found in violations) else ""
    return ConstraintNotValid(
        "; ".join(map(str, violations)),
        constraints=tuple(found.constraint.label for found in violations),
        hint=f"{correction}ALTER TABLE {first.table} VALIDATE CONSTRAINT {first.name}; or, to keep it "
        "NOT VALID for now, add it to plugin.checks.not_valid_allowed",
    )
