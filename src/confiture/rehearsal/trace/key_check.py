"""Render the query by which PostgreSQL checks the rows of a table for a foreign key.

PostgreSQL plans this query for itself, so no EXPLAIN of the statement shows it. The text is the one of
``RI_Initial_Check`` in PostgreSQL's ``ri_triggers.c``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sql.validated_keys import ValidatedKey


@frozen
class KeyCheck:
    """The query that checks one table.

    Attributes:
        key: The number of the foreign key, in the order of the statement; partitions share that of theirs.
        table: The referencing table or partition, as SQL.
        sql: The query.
    """

    key: int
    table: str
    sql: str


def read_key_checks(conn: Connection[Any], keys: Sequence[ValidatedKey]) -> list[KeyCheck]:
    """Return the queries that have checked these foreign keys; one for each partition of a table."""
    asked = ", ".join(
        f"({number}, {quote_literal(key.table)}, {quote_literal(key.name)}, {_render_names(key.columns)})"
        for number, key in enumerate(keys)
    )
    rows = fetch_rows(conn, _CHECKS_SQL.replace("ASKED", asked))
    return [KeyCheck(int(number), str(table), str(sql)) for number, table, sql in rows]


def select_largest(checks: Iterable[KeyCheck], rows: Mapping[str, float]) -> list[KeyCheck]:
    """Return the check of the largest table of each key: a thousand partitions are not planned one by one."""
    largest: dict[int, KeyCheck] = {}
    for check in checks:
        known = largest.get(check.key)
        if known is None or rows.get(check.table, 0) > rows.get(known.table, 0):
            largest[check.key] = check
    return list(largest.values())


def _render_names(names: Sequence[str]) -> str:
    return f"ARRAY[{', '.join(map(quote_literal, names))}]::name[]"


# Of several keys on the same columns it is the newest: the statement has just added it. A partitioned table
# has no rows; its partitions have, each with a constraint derived from the table's. One is also derived for
# each partition of the referenced table, but the check reads that table as a whole. Without the right to read
# a table, and for a key with PERIOD, PostgreSQL does not run this query: it looks up row by row.
_CHECKS_SQL = """
WITH RECURSIVE found AS (
    SELECT asked.number, con.oid, con.conrelid, con.confrelid
    FROM (VALUES ASKED) asked (number, relation, name, columns)
    CROSS JOIN LATERAL (
        SELECT c.oid, c.conrelid, c.confrelid FROM pg_constraint c
        WHERE c.conrelid = to_regclass(asked.relation) AND c.contype = 'f' AND c.convalidated
            AND (asked.name = '' OR c.conname = asked.name)
            AND (asked.name <> '' OR c.conparentid = 0 AND asked.columns = (
                SELECT array_agg(a.attname ORDER BY key.place)
                FROM unnest(c.conkey) WITH ORDINALITY key (number, place)
                JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = key.number))
        ORDER BY c.oid DESC LIMIT 1
    ) con
    UNION ALL
    SELECT found.number, part.oid, part.conrelid, part.confrelid
    FROM found JOIN pg_constraint part
        ON part.conparentid = found.oid AND part.confrelid = found.confrelid
        AND part.conrelid <> found.conrelid
)
SELECT found.number,
    format('%I.%I', child_space.nspname, child.relname),
    format(
        'SELECT %s FROM ONLY %I.%I fk LEFT OUTER JOIN %s%I.%I pk ON (%s) WHERE pk.%I IS NULL AND (%s)',
        string_agg(format('fk.%I', own.attname), ', ' ORDER BY place),
        child_space.nspname, child.relname,
        CASE parent.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, parent_space.nspname, parent.relname,
        string_agg(
            format('pk.%I OPERATOR(%I.%s) fk.%I', theirs.attname, space.nspname, op.oprname, own.attname),
            ' AND ' ORDER BY place),
        (array_agg(theirs.attname ORDER BY place))[1],
        string_agg(
            format('fk.%I IS NOT NULL', own.attname),
            CASE con.confmatchtype WHEN 'f' THEN ' OR ' ELSE ' AND ' END ORDER BY place)
    )
FROM found
JOIN pg_constraint con ON con.oid = found.oid
JOIN pg_class child ON child.oid = con.conrelid AND child.relkind = 'r'
JOIN pg_namespace child_space ON child_space.oid = child.relnamespace
JOIN pg_class parent ON parent.oid = con.confrelid
JOIN pg_namespace parent_space ON parent_space.oid = parent.relnamespace
CROSS JOIN LATERAL unnest(con.conkey, con.confkey, con.conpfeqop)
    WITH ORDINALITY pair (own, theirs, operator, place)
JOIN pg_attribute own ON own.attrelid = child.oid AND own.attnum = pair.own
JOIN pg_attribute theirs ON theirs.attrelid = parent.oid AND theirs.attnum = pair.theirs
JOIN pg_operator op ON op.oid = pair.operator
JOIN pg_namespace space ON space.oid = op.oprnamespace
WHERE has_table_privilege(child.oid, 'SELECT') AND has_table_privilege(parent.oid, 'SELECT')
    AND to_jsonb(con) ->> 'conperiod' IS DISTINCT FROM 'true'
GROUP BY found.number, con.oid, con.confmatchtype, child.relname, child_space.nspname,
    parent.relkind, parent.relname, parent_space.nspname
ORDER BY found.number, con.oid
"""
