"""Strategies that make a keyed hash of a value: hash, email."""

from __future__ import annotations

from confiture.plugins.kit import FLAG, POSITIVE, TEXT
from confiture_anonymize.keyed_hash import render_digest, render_number
from confiture_anonymize.permutation import NumberMask
from confiture_anonymize.source_schema import quote, quote_text
from confiture_anonymize.strategy import Mask, Masking, Strategy

# Sixteen hexadecimal digits: among a million values, two agree once in forty million copies.
UNIQUE_CHARS = 16
_HASH_CHARS = 64
_DEFAULT_HOST = "example.com"
_BITS = {"int2": 15, "int4": 31}


def _compile_hash(masking: Masking) -> Mask:
    column = masking.column
    digest = render_digest(masking.domain, masking.value_sql)
    if column.sort == "uuid":
        masked = f"pg_catalog.encode(pg_catalog.substr({digest}, 1, 16), 'hex')::uuid"
        return Mask(masked, distinct=True)
    if column.sort == "bytea":
        return Mask(digest, distinct=True)
    if column.sort == "inet":
        return _compile_address(masking, digest)
    if column.sort == "integer":
        return _compile_integer(masking)
    length = masking.options.get("length", POSITIVE, _HASH_CHARS)
    chars = _fit(masking, length, UNIQUE_CHARS)
    return Mask(
        f"pg_catalog.left(pg_catalog.encode({digest}, 'hex'), {chars})", distinct=chars >= UNIQUE_CHARS
    )


def _compile_address(masking: Masking, digest: str) -> Mask:
    if masking.column.unique:
        # There are 16 million addresses of 10.0.0.0/8, which is too few; of fd00::/8 there are 2¹²⁰.
        rest = "pg_catalog.regexp_replace(pg_catalog.substr(h, 3), '(.{4})', E':\\\\1', 'g')"
        masked = f"'fd' || pg_catalog.left(h, 2) || {rest}"
        hexadecimal = f"SELECT pg_catalog.left(pg_catalog.encode({digest}, 'hex'), 30) AS h OFFSET 0"
        return Mask(
            f"(SELECT ({masked})::{masking.column.base_type} FROM ({hexadecimal}) AS x)", distinct=True
        )
    parts = " || '.' || ".join(f"pg_catalog.get_byte(d, {index})" for index in range(3))
    masked = f"SELECT ('10.' || {parts})::inet AS a FROM (SELECT {digest} AS d OFFSET 0) AS x"
    # The next one, where the original happens to be the same.
    other = f"CASE WHEN a = {quote(masking.column.name)} THEN a + 1 ELSE a END"
    return Mask(f"(SELECT {other} FROM ({masked} OFFSET 0) AS y)", promise="changed")


def _compile_integer(masking: Masking) -> Mask:
    bits = _BITS.get(masking.column.base_type, 56)
    if masking.column.unique and bits < 56:
        # Too few numbers for hashes that differ; a permutation of them has no collisions.
        value = f"{quote(masking.column.name)}::text"
        return Mask(value, NumberMask(masking.key, masking.domain, bits), promise="changed", distinct=True)
    return Mask(f"{render_number(masking.domain, masking.value_sql)} % {2**bits}", distinct=bits == 56)


def _fit(masking: Masking, wanted: int, needed: int) -> int:
    """Return how many of the wanted characters fit; refuse a unique column that is too short."""
    room = masking.column.max_chars or wanted
    if masking.column.unique and min(wanted, room) < needed:
        raise masking.refuse(
            f"is unique and needs {needed} characters",
            hint="use pattern, which keeps values different, or null",
        )
    return min(wanted, room)


def _compile_email(masking: Masking) -> Mask:
    name = quote(masking.column.name)
    options = masking.options
    host = options.get("host", TEXT, _DEFAULT_HOST)
    max_chars = masking.column.max_chars
    room = (max_chars or 99) - len(host) - 2
    if room < (UNIQUE_CHARS if masking.column.unique else 4):
        raise masking.refuse("is too short for a masked address", hint="use hash, or a shorter host")
    digest = f"pg_catalog.encode({render_digest(masking.domain, masking.value_sql)}, 'hex')"
    if not options.get("keep_host", FLAG, False):
        chars = min(room, UNIQUE_CHARS)
        address = f"'u' || pg_catalog.left({digest}, {chars}) || {quote_text('@' + host)}"
        return Mask(address, distinct=chars == UNIQUE_CHARS)
    kept = f"pg_catalog.substring({name}::text, '@[^@]*$')"
    address = (
        f"'u' || pg_catalog.left({digest}, {UNIQUE_CHARS}) || coalesce({kept}, {quote_text('@' + host)})"
    )
    if max_chars:
        address = f"pg_catalog.right({address}, {max_chars})"
    return Mask(f"CASE WHEN {name} IS NOT NULL THEN {address} END", distinct=max_chars is None)


HASH_STRATEGIES = (
    Strategy(
        "hash",
        frozenset({"text", "uuid", "bytea", "integer", "inet"}),
        _compile_hash,
        {"length": "How many hexadecimal digits of a text."},
        keeps_unique=True,
    ),
    Strategy(
        "email",
        frozenset({"text"}),
        _compile_email,
        {"host": "What stands after the @.", "keep_host": "Whether the original's host stays."},
        keeps_unique=True,
    ),
)
