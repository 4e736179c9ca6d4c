"""One query that returns every object of the schema as canonical DDL: kind, identity, DDL.

Two servers of one major version give the same text for the same schema: names are qualified, lists are
sorted where their order has no meaning, and nothing depends on OIDs, owners, the machine or the session.
"""

from __future__ import annotations

from confiture.catalog import code_objects, table_objects, type_objects
from confiture.catalog.settled_text import render_settled
from confiture.catalog.table_objects import render_options, skip_members
from confiture.postgres.session import quote_literal

OWN_TABLES = (
    *("ledger", "progress", "hook_progress", "event", "schema_object", "source"),
    *("fleet_run", "fleet_target"),
)
"""The tables that confiture keeps in its schema."""

# The catalog's functions print names and constants as these settings say. To compile the query takes longer
# than it saves.
CANONICAL_SETTINGS = (
    "SET LOCAL jit = off;"
    " SET LOCAL search_path = ''; SET LOCAL quote_all_identifiers = off; SET LOCAL DateStyle = 'ISO, MDY';"
    " SET LOCAL IntervalStyle = 'postgres'; SET LOCAL TimeZone = 'UTC'; SET LOCAL extra_float_digits = 1;"
    " SET LOCAL standard_conforming_strings = on; SET LOCAL bytea_output = 'hex';"
    " SET LOCAL lc_monetary = 'C'; SET LOCAL xmlbinary = 'base64';"
)

FINGERPRINT = """encode(sha256(convert_to(coalesce(string_agg(
        concat(kind, ' ', identity, E'\\n', ddl, E'\\n'), '' ORDER BY kind COLLATE "C", identity COLLATE "C"),
        ''), 'UTF8')), 'hex')"""

_SCHEMAS = f"""
    SELECT 'schema', s.name, 'CREATE SCHEMA ' || s.name FROM spaces s
    WHERE {skip_members("pg_namespace", "s")}
"""
_EXTENSIONS = """
    SELECT 'extension', quote_ident(x.extname),
        format('CREATE EXTENSION %I SCHEMA %I VERSION %L', x.extname, n.nspname, x.extversion)
    FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
    UNION ALL
    SELECT 'dependency', format('OF %s %s ON EXTENSION %I', w.kind, i.identity, x.extname),
        format('ALTER %s %s DEPENDS ON EXTENSION %I', w.kind, i.identity, x.extname)
    FROM pg_depend e JOIN pg_extension x ON x.oid = e.refobjid
    CROSS JOIN LATERAL pg_identify_object(e.classid, e.objid, 0) i
    CROSS JOIN LATERAL (SELECT upper(i.type COLLATE "C") AS kind) w
    WHERE e.refclassid = 'pg_extension'::regclass AND e.deptype = 'x'
        AND (i.schema IS NULL OR i.schema IN (SELECT name FROM spaces))
"""
_FOREIGN_SERVERS = f"""
    SELECT 'foreign data wrapper', quote_ident(w.fdwname), concat('CREATE FOREIGN DATA WRAPPER ',
        quote_ident(w.fdwname), ' HANDLER ' || nullif(w.fdwhandler, 0)::regprocedure,
        ' VALIDATOR ' || nullif(w.fdwvalidator, 0)::regprocedure, {render_options("w.fdwoptions")})
    FROM pg_foreign_data_wrapper w
    WHERE {skip_members("pg_foreign_data_wrapper", "w")}
    UNION ALL
    SELECT 'server', quote_ident(v.srvname), concat('CREATE SERVER ', quote_ident(v.srvname),
        ' TYPE ' || quote_literal(v.srvtype), ' VERSION ' || quote_literal(v.srvversion),
        ' FOREIGN DATA WRAPPER ', quote_ident(w.fdwname), {render_options("v.srvoptions")})
    FROM pg_foreign_server v JOIN pg_foreign_data_wrapper w ON w.oid = v.srvfdw
    WHERE {skip_members("pg_foreign_server", "v")}
"""
# The OID of the schema ``public`` that initdb made. It may be renamed or dropped.
_PUBLIC = 2200
# A comment counts as a separate object, so that one query finds those of all kinds. PostgreSQL's own
# are on objects below 16384, the first OID of a user's object. upper() needs the collation: a Turkish
# database would write DOMAİN.
_COMMENTS = f"""
    SELECT 'comment', format('ON %s %s', w.kind, i.identity),
        format('COMMENT ON %s %s IS %L', w.kind, i.identity, d.description)
    FROM pg_description d
    CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i
    CROSS JOIN LATERAL (SELECT CASE WHEN d.objsubid <> 0 THEN 'COLUMN'
        WHEN d.classoid = 'pg_constraint'::regclass THEN 'CONSTRAINT'
        ELSE upper(i.type COLLATE "C") END AS kind) w
    WHERE (d.objoid >= 16384 OR d.objoid = {_PUBLIC} AND d.classoid = 'pg_namespace'::regclass)
        AND d.classoid <> 'pg_largeobject'::regclass AND i.identity IS NOT NULL
        AND (i.schema IS NULL OR i.schema IN (SELECT name FROM spaces))
        AND NOT EXISTS (SELECT FROM members m WHERE m.classid = d.classoid AND m.objid = d.objoid)
        AND (d.classoid <> 'pg_namespace'::regclass OR d.objoid IN (SELECT oid FROM spaces))
        AND (d.classoid <> 'pg_class'::regclass OR d.objoid NOT IN (SELECT oid FROM own_tables))
"""


def render_object_query(own_schema: str, version: int, only: str | None = None) -> str:
    """Return the query, to be sent after ``CANONICAL_SETTINGS`` in a transaction.

    Args:
        own_schema: The schema of the ledger, which is left out.
        version: The server's, as libpq gives it: ``180001``.
        only: The one schema whose objects are returned, beside those that are in none; ``None`` for all.
    """
    branches = (
        _SCHEMAS,
        _EXTENSIONS,
        table_objects.TABLES,
        table_objects.VIEWS,
        table_objects.SEQUENCES,
        table_objects.INDEXES,
        code_objects.ROUTINES,
        code_objects.TRIGGERS,
        code_objects.EVENT_TRIGGERS,
        code_objects.RULES,
        code_objects.POLICIES,
        code_objects.STATISTICS,
        code_objects.render_publications(version),
        type_objects.TYPES,
        type_objects.OPERATORS,
        type_objects.CASTS,
        type_objects.COLLATIONS,
        type_objects.TEXT_SEARCH,
        _FOREIGN_SERVERS,
        _COMMENTS,
    )
    objects = " UNION ALL ".join(branches)
    return f"""
    WITH spaces AS MATERIALIZED (
        SELECT oid, quote_ident(nspname) AS name FROM pg_namespace
        WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
            AND nspname !~ '^pg_(toast_)?temp_' {_skip_own(own_schema)} {_keep_only(only)}
    ),
    members AS MATERIALIZED (
        SELECT classid, objid FROM pg_depend
        WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
    ),
    own_tables AS MATERIALIZED ({_render_own_tables(own_schema)}),
    {table_objects.COLUMNS_CTE},
    {table_objects.render_constraints(version)}
    {render_settled(objects)}
    """


def _skip_own(own_schema: str) -> str:
    # In a schema that others use too, only our tables are left out.
    return "" if own_schema == "public" else f"AND nspname <> {quote_literal(own_schema)}"


def _keep_only(schema: str | None) -> str:
    return "" if schema is None else f"AND nspname = {quote_literal(schema)}"


def _render_own_tables(own_schema: str) -> str:
    names = ", ".join(map(quote_literal, OWN_TABLES))
    return (
        "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE n.nspname = {quote_literal(own_schema)} AND c.relname IN ({names})"
    )


def render_version_query(own_schema: str, version: int) -> str:
    """Return the query for the fingerprint: the SHA-256 of all objects, sorted by kind and identity."""
    return f"SELECT {FINGERPRINT} FROM ({render_object_query(own_schema, version)}) found"
