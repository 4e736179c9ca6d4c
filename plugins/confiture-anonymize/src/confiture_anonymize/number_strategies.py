"""Strategies for numbers, dates and times: date_shift, number, noise."""

from __future__ import annotations

from confiture.plugins.kit import COUNT, POSITIVE, TEXT
from confiture_anonymize.keyed_hash import render_number
from confiture_anonymize.source_schema import quote
from confiture_anonymize.strategy import Mask, Masking, Strategy


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
    elif masking.column.unique:
        raise masking.refuse(
            "is unique, and shifts by subject can make different dates alike", hint="leave out `subject`"
        )
    else:
        shift = (
            f"(1 + coalesce({render_number(masking.domain, f'{quote(subject)}::text')} % {max_days}, 0))::int"
        )
    if masking.column.sort == "date":
        return Mask(f"{name} - {shift}", distinct=subject is None)
    return Mask(f"{name} - pg_catalog.make_interval(days => {shift})", distinct=subject is None)


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


NUMBER_STRATEGIES = (
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
)
