"""Which file each relation lies in: what is rewritten or built gets a new one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.core.session import rows
from confiture.models.report import IndexBuild

_FILES = """
    SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text,
        pg_relation_filenode(c.oid)::bigint, coalesce(i.indrelid, 0)::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE c.relkind IN ('r', 'm', 'i') AND c.relpersistence <> 't'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""


@frozen
class File:
    """Where one relation lies.

    Attributes:
        name: Schema-qualified, quoted only where PostgreSQL would.
        kind: PostgreSQL's letter: ``r``, ``m`` or ``i``.
        node: The number of its file.
        table: The oid of an index's table, else 0.
    """

    name: str
    kind: str
    node: int | None
    table: int = 0


Files = Mapping[int, File]


def files(conn: Connection[Any]) -> Files:
    """Return where each table, materialized view and index lies, by oid; catalogs and TOAST left out."""
    return {oid: File(*rest) for oid, *rest in rows(conn, _FILES)}


def rewritten(before: Files, after: Files) -> tuple[str, ...]:
    """Return the tables and materialized views that have got a new file."""
    return tuple(
        sorted(
            file.name
            for oid, file in before.items()
            if file.kind != "i" and oid in after and after[oid].node != file.node
        )
    )


def built(before: Files, after: Files, known: Collection[int]) -> tuple[IndexBuild, ...]:
    """Return the indexes that were built on tables among ``known``; a new oid is a new index."""
    found = (
        IndexBuild(file.name, after[file.table].name, new=oid not in before)
        for oid, file in after.items()
        if file.kind == "i" and file.table in known and file.table in after
        if oid not in before or before[oid].node != file.node
    )
    return tuple(sorted(found, key=lambda build: (build.table, build.index)))
