"""Rules about the names and comments of a schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import frozen

from confiture.rules import schema_examples
from confiture.rules.rule import Hit, Rule
from confiture.sql.quote import quote_ident

if TYPE_CHECKING:
    from confiture.schema.judged_schema import JudgedSchema

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


@frozen
class _NamedObject:
    """Something with a name.

    Attributes:
        name: The name without quotes.
        shown: What messages call it.
        relation: The relation or function that it is, or belongs to.
        part: The column or index; ``None`` for the relation itself.
    """

    name: str
    shown: str
    relation: str
    part: str | None = None


def _list_names(schema: JudgedSchema) -> Iterator[_NamedObject]:
    for relation in schema.relations:
        yield _NamedObject(relation.name, relation.rel, relation.rel)
        for column in relation.columns:
            shown = f"the column {quote_ident(column.name)} of {relation.rel}"
            yield _NamedObject(column.name, shown, relation.rel, column.name)
        for index in relation.indexes:
            # A constraint's index has a name that PostgreSQL derives, and shortens by itself.
            if not index.of_constraint:
                shown = f"the index {quote_ident(index.name)} of {relation.rel}"
                yield _NamedObject(index.name, shown, relation.rel, index.name)
    yield from (_NamedObject(function.name, function.rel, function.rel) for function in schema.functions)


def check_case(schema: JudgedSchema) -> Iterator[Hit]:
    """Report names that are not lower case letters, digits and underscores."""
    if schema.policy.structure.any_case:
        return
    for named in _list_names(schema):
        if not _PLAIN.fullmatch(named.name):
            yield Hit(f"the name of {named.shown} needs quotes", named.relation, part=named.part)


def check_length(schema: JudgedSchema) -> Iterator[Hit]:
    """Report names that are too long."""
    most_bytes = schema.policy.structure.max_name_bytes
    for named in _list_names(schema):
        length_bytes = len(named.name.encode())
        if length_bytes > most_bytes:
            yield Hit(
                f"the name of {named.shown} has {length_bytes} bytes, at most are {most_bytes}",
                named.relation,
                part=named.part,
            )


def check_reserved(schema: JudgedSchema) -> Iterator[Hit]:
    """Report names that PostgreSQL reserves."""
    for named in _list_names(schema):
        if named.name in schema.catalog.reserved:
            yield Hit(f"the name of {named.shown} is a reserved word", named.relation, part=named.part)


def check_comment(schema: JudgedSchema) -> Iterator[Hit]:
    """Report objects without the comment that the configuration asks for."""
    asked = schema.policy.structure.comments
    for relation in schema.relations:
        sort = "view" if relation.sort in ("view", "matview") else "table"
        if sort in asked and not relation.comment:
            yield Hit(f"{relation.rel} has no comment", relation.rel)
        if "column" in asked and sort == "table":
            for column in relation.columns:
                if not column.comment:
                    name = quote_ident(column.name)
                    yield Hit(f"{relation.rel}.{name} has no comment", relation.rel, part=column.name)
    if "function" in asked:
        for function in schema.functions:
            if not function.comment:
                yield Hit(f"{function.rel} has no comment", function.rel)


RULES = (
    Rule(
        id="schema-name-case",
        severity="warning",
        basis="static",
        summary="a name that needs quotes",
        effect="folds a name without quotes to lower case, and does not find this one",
        risk="each query, each tool and each migration has to quote it, and one forgets",
        check_schema=check_case,
        example=schema_examples.NAME_CASE,
        remedy="use lower case letters, digits and underscores, or set structure.any_case",
    ),
    Rule(
        id="schema-name-length",
        severity="warning",
        basis="static",
        summary="a name longer than structure.max_name_bytes (62)",
        effect="cuts names at 63 bytes without an error",
        risk="two names that differ at the end become one, and code knows a name that the database has not",
        check_schema=check_length,
        example=schema_examples.NAME_LENGTH,
        remedy="choose a shorter name",
    ),
    Rule(
        id="schema-name-reserved",
        severity="warning",
        basis="static",
        summary="a name that is a reserved word",
        effect="takes the word for a part of the statement where it is not quoted",
        risk="a query without quotes fails, or selects something else: SELECT user is the role's name",
        check_schema=check_reserved,
        example=schema_examples.NAME_RESERVED,
        remedy="choose another name",
    ),
    Rule(
        id="schema-comment",
        severity="warning",
        basis="static",
        summary="an object without a comment, of the sorts in structure.comments",
        effect="has no text to show for it",
        risk="nobody knows what it is for, once its author is gone",
        check_schema=check_comment,
        needs=("structure.comments",),
        example=schema_examples.COMMENT,
        remedy="COMMENT ON … IS '…'",
    ),
)
