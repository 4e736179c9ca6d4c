"""Quote identifiers exactly as PostgreSQL's ``quote_ident`` does, so that names compare equal."""

from __future__ import annotations

import re

# quote_ident() leaves exactly these unquoted. A dollar sign is legal in a name, but quote_ident() quotes it.
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
# Keywords that quote_ident() quotes: all except the unreserved ones. The parser knows them too, but takes a
# tenth of a second to import, and most commands quote names without parsing SQL.
_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit
    boolean both case cast char character check coalesce collate collation column concurrently
    constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user dec decimal default deferrable desc distinct do else end except
    exists extract false fetch float for foreign freeze from full grant greatest group grouping
    having ilike in initially inner inout int integer intersect interval into is isnull join json
    json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar
    json_serialize json_table json_value lateral leading least left like limit localtime
    localtimestamp merge_action national natural nchar none normalize not notnull null nullif
    numeric offset on only or order out outer overlaps overlay placing position precision primary
    real references returning right row select session_user setof similar smallint some substring
    symmetric system_user table tablesample then time timestamp to trailing treat trim true union
    unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat
    xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())


def quote_ident(name: str) -> str:
    """Return a name as SQL, quoted if PostgreSQL's ``quote_ident`` would quote it."""
    if _PLAIN.fullmatch(name) and name not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def quote_name(*parts: str | None) -> str:
    """Return a qualified name as SQL, without the parts that are empty or ``None``."""
    return ".".join(quote_ident(part) for part in parts if part)
