"""Read from the catalog what depends on one column."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from confiture.postgres.session import fetch_rows, quote_literal
from confiture.rules.parse_tree import QualifiedName
from confiture.rules.schema_model import ColumnFacts

if TYPE_CHECKING:
    from psycopg import Connection

# Anything that a swap of columns is not known to carry over is an obstacle.
_QUERY = """
    SELECT attnotnull, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum),
        format_type(atttypid, atttypmod) || CASE WHEN attcollation <> typcollation
            THEN (SELECT format(' COLLATE %I.%I', nspname, collname) FROM pg_collation co
                JOIN pg_namespace n ON n.oid = collnamespace WHERE co.oid = attcollation)
            ELSE '' END,
        attidentity <> '', attgenerated <> '', attacl IS NOT NULL,
        relkind = 'p' OR EXISTS (SELECT FROM pg_inherits WHERE attrelid IN (inhrelid, inhparent)),
        attstorage <> typstorage OR attcompression <> '' OR attoptions IS NOT NULL
            OR coalesce(attstattarget, -1) >= 0
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid AND relkind IN ('r', 'p')
    JOIN pg_type t ON t.oid = atttypid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = to_regclass({table}) AND attname = {column} AND NOT attisdropped
"""
_DEPENDENTS = """
    SELECT DISTINCT classid::regclass::text, objid, pg_describe_object(classid, objid, 0), c.relkind::text,
        o.contype::text, o.conname::text, pg_get_constraintdef(o.oid), c.oid::regclass::text,
        i.relname::text, pg_get_indexdef(i.oid), ix.conname::text, pg_get_constraintdef(ix.oid),
        EXISTS (SELECT FROM pg_constraint f WHERE f.confrelid = o.conrelid AND f.conindid = o.conindid),
        coalesce(o.convalidated AND NOT o.connoinherit, true),
        coalesce(i.oid IN (SELECT indexrelid FROM pg_index WHERE indisclustered OR indisreplident), false),
        obj_description(d.objid, classid::regclass::text) IS NOT NULL
            OR obj_description(i.oid, 'pg_class') IS NOT NULL
            OR obj_description(ix.oid, 'pg_constraint') IS NOT NULL
    FROM pg_depend d JOIN pg_attribute a ON a.attrelid = refobjid AND attnum = refobjsubid
    LEFT JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid
    LEFT JOIN pg_constraint o ON classid = 'pg_constraint'::regclass AND o.oid = objid
    LEFT JOIN pg_class i ON i.oid = CASE WHEN c.relkind = 'i' THEN c.oid ELSE nullif(o.conindid, 0) END
        AND (o.contype IS NULL OR o.contype IN ('p', 'u'))
    LEFT JOIN pg_constraint ix ON ix.conindid = i.oid AND ix.contype IN ('p', 'u')
    WHERE refclassid = 'pg_class'::regclass AND refobjid = to_regclass({table}) AND attname = {column}
    AND NOT EXISTS (SELECT FROM pg_attrdef WHERE classid = 'pg_attrdef'::regclass AND pg_attrdef.oid = objid
        AND adrelid = refobjid AND adnum = refobjsubid)
    AND NOT EXISTS (SELECT FROM pg_trigger WHERE classid = 'pg_trigger'::regclass AND pg_trigger.oid = objid
        AND tgisinternal)
"""
# In the order of the last columns of ``_QUERY``.
_OBSTACLES = (
    "its identity",
    "its generated value",
    "its privileges",
    "the partitions or the parent of the table",
    "its storage or statistics setting",
)
_CHECK = re.compile(r"CHECK \((.*)\)", re.DOTALL)


def read_column(conn: Connection[Any], table: QualifiedName, column: str) -> ColumnFacts | None:
    """Return what the catalog says about a column; ``None`` if it has no such column."""
    names = {"table": quote_literal(str(table)), "column": quote_literal(column)}
    rows = fetch_rows(conn, _QUERY.format(**names))
    if not rows:
        return None
    not_null, default, comment, type_name, *flags = rows[0]
    obstacles = [obstacle for obstacle, is_there in zip(_OBSTACLES, flags, strict=True) if is_there]
    indexes, checks, sequences = dict[str, tuple[str, str]](), dict[str, str](), list[str]()
    not_null_name = None
    for row in fetch_rows(conn, _DEPENDENTS.format(**names)):
        _, _, description, relkind, contype, conname, condef, relation, *more = row
        index, indexdef, index_constraint, index_condef, referenced, simple, preferred, commented = more
        if contype == "n" and simple and not commented:
            not_null_name = conname
        elif relkind == "S":
            sequences.append(relation)
        elif preferred or commented:
            obstacles.append(f"what CLUSTER, REPLICA IDENTITY or COMMENT says of {description}")
        elif index and not referenced and (contype in ("p", "u") or contype is None):
            indexes[index] = indexdef, _render_using(index_condef) if index_constraint else ""
        elif contype == "c" and simple and (found := _CHECK.fullmatch(condef)):
            checks[conname] = found.group(1)
        else:
            # A view depends on its columns through its rule.
            obstacles.append(description.removeprefix("rule _RETURN on "))
    return ColumnFacts(
        not_null,
        default,
        type_name,
        not_null_name,
        comment,
        tuple((name, *rest) for name, rest in sorted(indexes.items())),
        tuple(sorted(checks.items())),
        tuple(sequences),
        tuple(obstacles),
    )


def _render_using(definition: str) -> str:
    """Return ``PRIMARY KEY (a) DEFERRABLE`` as ``PRIMARY KEY USING INDEX ? DEFERRABLE``."""
    label = "PRIMARY KEY" if definition.startswith("PRIMARY KEY") else "UNIQUE"
    return (
        label
        + " USING INDEX ?"
        + "".join(
            f" {words}"
            for words in ("DEFERRABLE", "INITIALLY DEFERRED")
            if definition.endswith(words) or f" {words} " in definition
        )
    )
