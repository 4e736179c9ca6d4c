"""Find out what a domain checks, and write its CHECKs for a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from confiture.rules.parse_tree import QualifiedName, read_name_list
from confiture.rules.schema_model import DomainType, SchemaModel
from confiture.sql.parser import parse_type, scan_tokens

if TYPE_CHECKING:
    from confiture.rules.parsed_migration import ParsedStatement


def find_domain(statement: ParsedStatement, column: Any) -> DomainType | None:
    """Return the domain of a column, with what the domains below it check; ``None`` if it has none."""
    if column.type_name.array_bounds:
        return None
    return resolve_domain(statement.migration.schema, read_name_list(column.type_name.names))


def resolve_domain(known: SchemaModel, name: QualifiedName) -> DomainType | None:
    """Return a domain whose base type is no domain any more, with the CHECKs of all on the way."""
    domain = known.domains.get(name)
    if domain is None:
        return None
    base = parse_type(domain.type_name)
    below = None if base.array_bounds else resolve_domain(known, read_name_list(base.names))
    if below is None:
        return domain
    return evolve(
        below,
        checks=(*below.checks, *domain.checks),
        not_null=below.not_null or domain.not_null,
        default=domain.default or below.default,
        collated=below.collated or domain.collated,
    )


def explain_domain(known: SchemaModel, type_name: Any) -> str | None:
    """Return why a column of this type cannot be added for a copy; ``None`` if it can.

    Args:
        known: The schema.
        type_name: The type's tree.
    """
    name = read_name_list(type_name.names)
    domain = None if type_name.array_bounds else resolve_domain(known, name)
    if domain is None or not (domain.checks or domain.not_null):
        return None
    return f"a new column of the domain {name} would rewrite the table too"


def render_check(check: str, column: str) -> str:
    """Return a domain's CHECK for a column: its VALUE is the column."""
    done, text = 0, ""
    for token, start, end in scan_tokens(check):
        if token.upper() == "VALUE":
            text, done = f"{text}{check[done:start]}{column}", end
    return text + check[done:]
