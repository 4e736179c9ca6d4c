"""Know functions and types: which defaults differ from row to row, and a value of each type."""

from __future__ import annotations

from typing import Any

from confiture.rules.parse_tree import find_functions

# Since version 11 PostgreSQL evaluates a default that is not volatile once and stores it in the catalog. A
# volatile default gives each row its own value, so the table is rewritten. These functions are volatile;
# of a function in neither list only a rehearsal can tell.
_VOLATILE_WORDS = """
    clock_timestamp currval gen_random_bytes gen_random_uuid gen_ulid lastval nextval pg_sleep random
    random_normal setval timeofday uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4
    uuidv4 uuidv7
"""
VOLATILE = frozenset(_VOLATILE_WORDS.split())
_STABLE_WORDS = """
    abs age array_to_json cardinality char_length concat current_setting date_part date_trunc format
    greatest interval json_build_object jsonb_build_array jsonb_build_object least length lower md5
    now row_to_json statement_timestamp timezone to_char to_json to_jsonb to_timestamp
    transaction_timestamp trim txid_current upper
"""
STABLE = frozenset(_STABLE_WORDS.split())
# The parser leaves serial as it is written; PostgreSQL turns it into a type and a sequence later.
SERIALS = {
    "serial": "integer",
    "serial4": "integer",
    "bigserial": "bigint",
    "serial8": "bigint",
    "smallserial": "smallint",
    "serial2": "smallint",
}
# A valid value of each type, as a placeholder in a recipe.
NOTHING = {
    "bool": "false",
    "date": "CURRENT_DATE",
    "timestamp": "now()",
    "timestamptz": "now()",
    "time": "'00:00'",
    "timetz": "'00:00+00'",
    "interval": "'0'",
    "json": "'{}'",
    "jsonb": "'{}'",
    "uuid": "'00000000-0000-0000-0000-000000000000'",
    "text": "''",
    "varchar": "''",
    "bpchar": "''",
    "citext": "''",
    "bytea": "''",
    "inet": "'0.0.0.0'",
}
NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8", "money", "oid")
# The text does not say if a type is a domain; these certainly are not.
BUILT_IN = frozenset(
    (*NOTHING, *NUMBERS, *SERIALS, "cidr", "macaddr", "xml", "bit", "varbit", "name", "char")
)


def list_called(expression: Any) -> list[str]:
    """Return the functions of a default that may give every row its own value, certain ones first."""
    called = [function for function in find_functions(expression) if function not in STABLE]
    return sorted(called, key=lambda text: text not in VOLATILE)


def is_volatile(expression: Any) -> bool:
    """Return True if a default may give every row its own value."""
    return bool(list_called(expression))
