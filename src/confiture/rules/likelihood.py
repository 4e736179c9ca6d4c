"""Tell from the text what a statement likely does, where a dry-run could not rehearse it."""

from __future__ import annotations

from confiture.rules.parse_tree import list_commands, read_name, render_type
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.rule import Hit

# From most types that are changed to these, PostgreSQL changes only the catalog.
_WIDER = ("text", "varchar", "numeric", "varbit", "bpchar")


def is_always_likely(_: Hit, __: ParsedStatement) -> bool:
    """Return True: the text of the statement says all."""
    return True


def likely_changes_storage(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if a column gets a type that is seldom stored as the old one."""
    changed = (command for command in list_commands(statement.stmt) if command.sort == "AT_AlterColumnType")
    return any(render_type(command.definition.column_def.type_name) not in _WIDER for command in changed)


def is_likely_unproven(hit: Hit, statement: ParsedStatement) -> bool:
    """Return True if no CHECK is known that spares the scan: one in the catalog, or one just validated."""
    known = statement.migration.schema
    tables = {name for name in (*known.created, *known.checks) if name.is_rel(hit.relation)}
    if any(known.list_checks(table) for table in tables):
        return False
    return not any(_validates(earlier, hit) for earlier in statement.earlier_statements)


def _validates(statement: ParsedStatement, hit: Hit) -> bool:
    return (
        statement.kind == "alter_table_stmt"
        and str(read_name(statement.stmt.relation)) == hit.relation
        and any(command.sort == "AT_ValidateConstraint" for command in list_commands(statement.stmt))
    )
