"""Strategies for texts: pseudonym, pattern, phone, redact."""

from __future__ import annotations

from confiture.plugins.kit import COUNT, FLAG, TEXT, make_choice
from confiture_anonymize.hash_strategies import UNIQUE_CHARS
from confiture_anonymize.keyed_hash import render_digest, render_number
from confiture_anonymize.name_pool import KINDS, NamePool, make_pool
from confiture_anonymize.permutation import ShapeMask
from confiture_anonymize.source_schema import quote, quote_text
from confiture_anonymize.strategy import Mask, Masking, Strategy

_TEXT = frozenset({"text"})


def _compile_pseudonym(masking: Masking) -> Mask:
    options = masking.options
    kind = options.require("of", make_choice(*KINDS))
    locale = options.get("locale", TEXT, "en_US")
    suffix = options.get("unique", FLAG, masking.column.unique)
    room = masking.column.max_chars
    shorter = room - UNIQUE_CHARS - 1 if room and suffix else room
    if suffix and shorter is not None and shorter < 2:
        raise masking.refuse("is unique and too short for a name", hint="use hash or pattern")
    pool = make_pool(kind, locale, shorter)
    setting = f"confiture_anonymize.pool_{kind}_{locale.lower()}_{shorter or 0}"
    text = _render_pick(masking, setting, pool)
    if suffix:
        digest = f"pg_catalog.encode({render_digest(masking.domain, masking.value_sql)}, 'hex')"
        text = f"{text} || ' ' || pg_catalog.left({digest}, {UNIQUE_CHARS})"
    return Mask(text, settings={setting: pool.text}, distinct=suffix)


def _render_pick(masking: Masking, setting: str, pool: NamePool) -> str:
    """Return SQL for the text of a pool that the keyed hash of the value picks."""
    # All texts have as many bytes, so the server finds one without reading those before it, as it would in an
    # array of texts.
    texts = f"(SELECT pg_catalog.convert_to(pg_catalog.current_setting({quote_text(setting)}), 'UTF8'))"
    number = f"({render_number(masking.domain, masking.value_sql)} % {pool.size})::int"

    def render_text(place: str) -> str:
        part = f"pg_catalog.substr(b, {place} * {pool.width_bytes} + 1, {pool.width_bytes})"
        return f"pg_catalog.rtrim(pg_catalog.convert_from({part}, 'UTF8'))"

    value = f"{quote(masking.column.name)}::text"
    numbered = f"SELECT {texts} AS b, {number} AS i, {value} AS v OFFSET 0"
    picked = f"SELECT {render_text('i')} AS t, b, i, v FROM ({numbered}) AS x OFFSET 0"
    # The next one, where the pool happens to hold the original.
    other = render_text(f"((i + 1) % {pool.size})")
    return f"(SELECT CASE WHEN t = v THEN {other} ELSE t END FROM ({picked}) AS y)"


def _compile_pattern(masking: Masking) -> Mask:
    options = masking.options
    shape = ShapeMask(
        masking.key,
        masking.domain,
        options.get("keep_first", COUNT, 0),
        options.get("keep_last", COUNT, 0),
        options.get("check", make_choice("luhn", "iban"), ""),
    )
    return Mask(f"{quote(masking.column.name)}::text", shape, distinct=True)


def _compile_phone(masking: Masking) -> Mask:
    keep_first = masking.options.get("keep_first", COUNT, 3)
    shape = ShapeMask(masking.key, masking.domain, keep_first)
    return Mask(f"{quote(masking.column.name)}::text", shape, distinct=True)


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


TEXT_STRATEGIES = (
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
        "redact",
        _TEXT,
        _compile_redact,
        {
            "text": "What is written instead.",
            "pattern": "The regular expression of what is replaced; all if not set.",
        },
        promise="other",
    ),
)
