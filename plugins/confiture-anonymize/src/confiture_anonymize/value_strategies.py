"""Strategies for columns of every type: fixed, null, shuffle."""

from __future__ import annotations

from confiture.plugins.kit import Kind
from confiture_anonymize.keyed_hash import render_order
from confiture_anonymize.source_schema import quote, quote_text
from confiture_anonymize.strategy import Mask, Masking, Strategy

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
    # Each column in an order of its own, or the parts of one name would move together.
    row = "(tableoid::bigint || ':' || ctid::text)" if masking.table.partitioned else "ctid::text"
    order = f"OVER (ORDER BY {render_order(f'{masking.domain}:shuffle:{masking.column.name}', row)})"
    return Mask(
        f"CASE WHEN pg_catalog.lead(1) {order} IS NULL"
        f" THEN pg_catalog.first_value({name}) {order} ELSE pg_catalog.lead({name}) {order} END",
        moves=True,
    )


VALUE_STRATEGIES = (
    Strategy("fixed", frozenset(), _compile_fixed, {"value": "The value of every row that is not NULL."}),
    Strategy("null", frozenset(), _compile_null, keeps_unique=True),
    Strategy("shuffle", frozenset(), _compile_shuffle, promise="other", keeps_unique=True),
)
