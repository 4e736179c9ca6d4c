"""SQL that prints an expression as PostgreSQL does after it has read its own text back.

PostgreSQL prints two things otherwise than it stores them once they are read back, so a database that was
dumped and restored would differ from its original: ``s IN ('a', 'b')`` for a varchar, which casts the array
first and each element afterwards, and ``a BETWEEN 1 AND 2 AND b``, whose parentheses the parser removes.
"""

from __future__ import annotations

from confiture.postgres.session import quote_literal

# Subqueries and casts within one operand; a deeper one stays as it is.
_DEPTH = 6
_TYPE = r"[a-zA-Z0-9_.\" ]+"
_ITEM = rf"(?:'(?:[^']|'')*'|[a-zA-Z0-9_.\"-]+)(?:::{_TYPE}(?:\(\d+\))?)?"
_ARRAY = rf"\(ARRAY\[({_ITEM}(?:, {_ITEM})*)\]\)::({_TYPE})\[\]"
# These two control characters stand for the parentheses within literals, which the patterns must not see.
_MASKS = r"E'\x04\x05'"


def render_settled(objects: str) -> str:
    """Return a query for the rows of ``objects`` with settled text; bodies of functions and comments stay."""
    own = "o.kind IN ('function', 'procedure', 'comment') AND o.ddl NOT LIKE E'%\\nBEGIN ATOMIC\\n%'"
    # OFFSET: each text is computed once, however often the next step names it.
    return f"""
    SELECT o.kind::text, o.identity::text, CASE WHEN {own} THEN o.ddl
        ELSE translate(d.ddl, {_MASKS}, '()') END AS ddl
    FROM ({objects} OFFSET 0) o (kind, identity, ddl)
    CROSS JOIN LATERAL (SELECT {_mask_literals("o.ddl")} AS ddl OFFSET 0) m
    CROSS JOIN LATERAL (SELECT {_cast_elements("m.ddl")} AS ddl OFFSET 0) e
    CROSS JOIN LATERAL (SELECT {_flatten("AND", "e.ddl")} AS ddl OFFSET 0) a
    CROSS JOIN LATERAL (SELECT {_flatten("OR", "a.ddl")} AS ddl OFFSET 0) d
    """


def _mask_literals(ddl: str) -> str:
    """Hide the parentheses within string literals, which stay as they are."""
    # Every second part between quotes is within a literal; a doubled quote ends one and begins the next.
    return f"""CASE WHEN {ddl} LIKE '%''%(%''%' OR {ddl} LIKE '%''%)%''%' THEN (
        SELECT string_agg(CASE p.number % 2 WHEN 0 THEN translate(p.part, '()', {_MASKS}) ELSE p.part END,
            '''' ORDER BY p.number)
        FROM unnest(string_to_array({ddl}, '''')) WITH ORDINALITY p (part, number)) ELSE {ddl} END"""


def _cast_elements(ddl: str) -> str:
    """``(ARRAY['a'::varchar])::text[]`` becomes ``ARRAY[('a'::varchar)::text]``."""
    # \x01 items \x02 type \x03, because a replacement cannot contain another one.
    marked = rf"regexp_replace({ddl}, {quote_literal(_ARRAY)}, E'\x01\\1\x02\\2\x03', 'g')"
    items, after = "split_part(p.part, E'\\x02', 1)", "split_part(p.part, E'\\x02', 2)"
    target, rest = f"split_part({after}, E'\\x03', 1)", f"split_part({after}, E'\\x03', 2)"
    elements = f"regexp_replace({items}, {quote_literal(_ITEM)}, E'(\\\\&)::' || {target}, 'g')"
    return f"""CASE WHEN {ddl} LIKE '%(ARRAY[%' THEN (
        SELECT string_agg(CASE p.number WHEN 1 THEN p.part
            ELSE concat('ARRAY[', {elements}, ']', {rest}) END, '' ORDER BY p.number)
        FROM unnest(string_to_array({marked}, E'\\x01')) WITH ORDINALITY p (part, number)) ELSE {ddl} END"""


def _flatten(operator: str, ddl: str) -> str:
    """``((a AND b) AND c)`` becomes ``(a AND b AND c)``."""
    plain = r"""[^()'"]|'[^']*'|"[^"]*\""""
    operand = f"(?:{plain})*"
    for _ in range(_DEPTH):
        operand = rf"(?:{plain}|\({operand}\))*"
    nested = rf"\(\(({operand} {operator} {operand})\) {operator} "
    replaced = f"regexp_replace({ddl}, {quote_literal(nested)}, E'(\\\\1 {operator} ', 'g')"
    return f"CASE WHEN {ddl} LIKE '%((% {operator} %) {operator} %' THEN {replaced} ELSE {ddl} END"
