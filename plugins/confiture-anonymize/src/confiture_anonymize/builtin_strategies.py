"""The strategies there are: each compiles to an expression that the source evaluates."""

from __future__ import annotations

from confiture.plugins.kit import COUNT, FLAG, POSITIVE, TEXT, Kind, make_choice
from confiture_anonymize.keyed_hash import render_digest, render_number
from confiture_anonymize.name_pool import KINDS, SEPARATOR, make_pool
from confiture_anonymize.permutation import ShapeMask
from confiture_anonymize.source_schema import quote, quote_text
from confiture_anonymize.strategy import Mask, Masking, Strategy

_TEXT = frozenset({"text"})
# Sixteen hexadecimal digits: among a million values, two agree once in forty million copies.
_UNIQUE_CHARS = 16
_HASH_CHARS = 64
_DEFAULT_DOMAIN = "example.com"


def _compile_hash(masking: Masking) -> Mask:
    column = masking.column
    digest = render_digest(masking.domain, masking.value_sql)
    if column.sort == "uuid":
        return Mask(f"pg_catalog.encode(pg_catalog.substr({digest}, 1, 16), 'hex')::uuid")
    if column.sort == "bytea":
        return Mask(digest)
    if column.sort == "inet":
        return Mask(_render_address(masking, digest), promise="changed")
    if column.sort == "integer":
        return Mask(_render_integer(masking))
    length = masking.options.get("length", POSITIVE, _HASH_CHARS)
    return Mask(
        f"pg_catalog.left(pg_catalog.encode({digest}, 'hex'), {_fit(masking, length, _UNIQUE_CHARS)})"
    )


def _render_address(masking: Masking, digest: str) -> str:
    if masking.column.unique:
        raise masking.refuse("is unique, and 16 million addresses are too few", hint="use null, or keep it")
    parts = " || '.' || ".join(f"pg_catalog.get_byte(d, {index})" for index in range(3))
    masked = f"SELECT ('10.' || {parts})::inet AS a FROM (SELECT {digest} AS d OFFSET 0) AS x"
    # The next one, where the original happens to be the same.
    other = f"CASE WHEN a = {quote(masking.column.name)} THEN a + 1 ELSE a END"
    return f"(SELECT {other} FROM ({masked} OFFSET 0) AS y)"


def _render_integer(masking: Masking) -> str:
    bits = {"int2": 15, "int4": 31}.get(masking.column.base_type, 56)
    if masking.column.unique and bits < 56:
        raise masking.refuse("is unique, and too small for keyed hashes", hint="keep it, or make it a bigint")
    return f"{render_number(masking.domain, masking.value_sql)} % {2**bits}"


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
    host = options.get("host", TEXT, _DEFAULT_DOMAIN)
    room = (masking.column.max_chars or 99) - len(host) - 2
    if room < (_UNIQUE_CHARS if masking.column.unique else 4):
        raise masking.refuse("is too short for a masked address", hint="use hash, or a shorter host")
    digest = f"pg_catalog.encode({render_digest(masking.domain, masking.value_sql)}, 'hex')"
    if not options.get("keep_host", FLAG, False):
        return Mask(
            f"'u' || pg_catalog.left({digest}, {min(room, _UNIQUE_CHARS)}) || {quote_text('@' + host)}"
        )
    kept = f"pg_catalog.substring({name}::text, '@[^@]*$')"
    address = (
        f"'u' || pg_catalog.left({digest}, {_UNIQUE_CHARS}) || coalesce({kept}, {quote_text('@' + host)})"
    )
    if masking.column.max_chars:
        address = f"pg_catalog.right({address}, {masking.column.max_chars})"
    return Mask(f"CASE WHEN {name} IS NOT NULL THEN {address} END")


def _compile_pseudonym(masking: Masking) -> Mask:
    options = masking.options
    kind = options.require("of", make_choice(*KINDS))
    locale = options.get("locale", TEXT, "en_US")
    suffix = options.get("unique", FLAG, masking.column.unique)
    room = masking.column.max_chars
    shorter = room - _UNIQUE_CHARS - 1 if room and suffix else room
    if suffix and shorter is not None and shorter < 2:
        raise masking.refuse("is unique and too short for a name", hint="use hash or pattern")
    pool = make_pool(kind, locale, shorter)
    setting = f"confiture_anonymize.pool_{kind}_{locale.lower()}_{shorter or 0}"
    array = (
        f"(SELECT pg_catalog.string_to_array(pg_catalog.current_setting({quote_text(setting)}), E'\\x1f'))"
    )
    number = render_number(masking.domain, masking.value_sql)
    # The next one, where the pool happens to hold the original.
    text = (
        f"(SELECT CASE WHEN p[i] = v THEN p[i % {len(pool)} + 1] ELSE p[i] END FROM (SELECT {array} AS p,"
        f" ({number} % {len(pool)})::int + 1 AS i, {quote(masking.column.name)}::text AS v OFFSET 0) AS x)"
    )
    if suffix:
        digest = f"pg_catalog.encode({render_digest(masking.domain, masking.value_sql)}, 'hex')"
        text = f"{text} || ' ' || pg_catalog.left({digest}, {_UNIQUE_CHARS})"
    return Mask(text, settings={setting: SEPARATOR.join(pool)})


def _compile_pattern(masking: Masking) -> Mask:
    options = masking.options
    shape = ShapeMask(
        masking.key,
        masking.domain,
        options.get("keep_first", COUNT, 0),
        options.get("keep_last", COUNT, 0),
        options.get("check", make_choice("luhn", "iban"), ""),
    )
    return Mask(f"{quote(masking.column.name)}::text", shape)


def _compile_phone(masking: Masking) -> Mask:
    keep_first = masking.options.get("keep_first", COUNT, 3)
    return Mask(f"{quote(masking.column.name)}::text", ShapeMask(masking.key, masking.domain, keep_first))


def _compile_date_shift(masking: Masking) -> Mask:
    name, options = quote(masking.column.name), masking.options
    max_days = options.get("max_days", POSITIVE, 365)
    subject = options.get("subject", TEXT, None)
    if subject is None:
        # One shift for the whole domain keeps the intervals between all dates.
        shift = str(1 + int.from_bytes(masking.key.digest(masking.domain, "date shift")[:7]) % max_days)
    elif subject not in {column.name for column in masking.table.columns}:
        raise masking.refuse(
            f"cannot be shifted by {subject!r}", hint="`subject` is a column of the same table"
        )
    else:
        shift = (
            f"(1 + coalesce({render_number(masking.domain, f'{quote(subject)}::text')} % {max_days}, 0))::int"
        )
    if masking.column.sort == "date":
        return Mask(f"{name} - {shift}")
    return Mask(f"{name} - pg_catalog.make_interval(days => {shift})")


def _compile_number(masking: Masking) -> Mask:
    name, options = quote(masking.column.name), masking.options
    low, high = options.require("min", COUNT), options.require("max", COUNT)
    if high <= low:
        raise masking.refuse("needs a `max` above `min`", hint="write min = 0, max = 100")
    size = high - low + 1
    number = f"({render_number(masking.domain, masking.value_sql)} % {size} + {low})"
    return Mask(
        f"(SELECT CASE WHEN n = {name} THEN (n - {low} + 1) % {size} + {low} ELSE n END"
        f" FROM (SELECT {number} AS n OFFSET 0) AS x)"
    )


def _compile_noise(masking: Masking) -> Mask:
    name = quote(masking.column.name)
    percent = masking.options.get("percent", POSITIVE, 10)
    part = f"({render_number(masking.domain, masking.value_sql)} % 2001 - 1000) * {percent} / 100000.0"
    noisy = f"{name}::numeric * (1 + {part})"
    return Mask(f"pg_catalog.round({noisy})" if masking.column.sort == "integer" else noisy)


def _compile_redact(masking: Masking) -> Mask:
    name = quote(masking.column.name)
    text = masking.options.get("text", TEXT, "redacted")
    text = text[: masking.column.max_chars] if masking.column.max_chars else text
    pattern = masking.options.get("pattern", TEXT, None)
    if pattern is None:
        return Mask(
            f"CASE WHEN {name} IS NOT NULL THEN {quote_text(text)} END", promise="nowhere", constant=text
        )
    result = f"pg_catalog.regexp_replace({name}::text, {quote_text(pattern)}, {quote_text(text)}, 'g')"
    return Mask(
        f"pg_catalog.left({result}, {masking.column.max_chars})" if masking.column.max_chars else result
    )


_VALUE = Kind("a text, a number or a boolean", '"…"', lambda value: _read_plain(value))


def _read_plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise ValueError
    return str(value)


def _compile_fixed(masking: Masking) -> Mask:
    value = masking.options.require("value", _VALUE)
    if masking.column.max_chars and len(value) > masking.column.max_chars:
        raise masking.refuse(f"is too short for a value of {len(value)} characters", hint="shorten `value`")
    name = quote(masking.column.name)
    expression = f"CASE WHEN {name} IS NOT NULL THEN {quote_text(value)}::{masking.column.type} END"
    return Mask(expression, constant=value)


def _compile_null(masking: Masking) -> Mask:
    if masking.column.not_null:
        raise masking.refuse("is NOT NULL", hint="use fixed, or another strategy")
    return Mask(f"NULL::{masking.column.type}")


def _compile_shuffle(masking: Masking) -> Mask:
    name = quote(masking.column.name)
    order = f"OVER (ORDER BY {render_digest(masking.domain, 'ctid::text')})"
    return Mask(
        f"CASE WHEN pg_catalog.row_number() {order} = pg_catalog.count(*) OVER ()"
        f" THEN pg_catalog.first_value({name}) {order} ELSE pg_catalog.lead({name}) {order} END"
    )


STRATEGIES = (
    Strategy(
        "hash",
        frozenset({"text", "uuid", "bytea", "integer", "inet"}),
        _compile_hash,
        {"length": "How many hexadecimal digits of a text."},
        keeps_unique=True,
    ),
    Strategy(
        "email",
        _TEXT,
        _compile_email,
        {"host": "What stands after the @.", "keep_host": "Whether the original's host stays."},
        keeps_unique=True,
    ),
    Strategy(
        "pseudonym",
        _TEXT,
        _compile_pseudonym,
        {
            "of": f"What it is: {', '.join(KINDS)}.",
            "locale": 'Of which country: "de_DE".',
            "unique": "Whether different values stay different; true for a unique column.",
        },
        promise="changed",
        keeps_unique=True,
    ),
    Strategy(
        "pattern",
        _TEXT,
        _compile_pattern,
        {
            "keep_first": "How many letters and digits at the start stay.",
            "keep_last": "How many at the end stay.",
            "check": '"luhn" or "iban": the check digits of the result are right.',
        },
        promise="changed",
        keeps_unique=True,
    ),
    Strategy(
        "phone",
        _TEXT,
        _compile_phone,
        {"keep_first": "How many digits at the start stay; 3 if not set."},
        promise="changed",
        keeps_unique=True,
    ),
    Strategy(
        "date_shift",
        frozenset({"date", "timestamp"}),
        _compile_date_shift,
        {
            "max_days": "The longest shift into the past; 365 if not set.",
            "subject": "The column whose value decides the shift, so that intervals within one subject stay.",
        },
        promise="changed",
        keeps_unique=True,
    ),
    Strategy(
        "number",
        frozenset({"integer", "number"}),
        _compile_number,
        {"min": "The least result.", "max": "The greatest result."},
        promise="changed",
    ),
    Strategy(
        "noise",
        frozenset({"integer", "number"}),
        _compile_noise,
        {"percent": "How far a value may move; 10 if not set."},
        promise="other",
    ),
    Strategy(
        "redact",
        _TEXT,
        _compile_redact,
        {
            "text": "What is written instead.",
            "pattern": "The regular expression of what is replaced; all if not set.",
        },
        promise="other",
    ),
    Strategy("fixed", frozenset(), _compile_fixed, {"value": "The value of every row that is not NULL."}),
    Strategy("null", frozenset(), _compile_null, keeps_unique=True),
    Strategy("shuffle", frozenset(), _compile_shuffle, promise="other", keeps_unique=True),
)
