"""Strategies for texts: pseudonym, pattern, phone, redact."""

from __future__ import annotations

from confiture.plugins.kit import COUNT, FLAG, TEXT, make_choice
from confiture_anonymize.hash_strategies import UNIQUE_CHARS
from confiture_anonymize.keyed_hash import render_digest, render_number
from confiture_anonymize.name_pool import KINDS, SEPARATOR, make_pool
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
        text = f"{text} || ' ' || pg_catalog.left({digest}, {UNIQUE_CHARS})"
    return Mask(text, settings={setting: SEPARATOR.join(pool)}, distinct=suffix)


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
