"""Write one ALTER TABLE as steps that block nobody for long, with all of its commands.

The steps are at most five migrations: what changes only the catalog; what is committed batch by batch, or
built CONCURRENTLY; the constraints that need those rows; their validation; what uses the new indexes.
"""

from __future__ import annotations

from collections.abc import Sequence

from confiture.rules.added_column import add_column
from confiture.rules.added_constraints import add_constraint, list_of_command, needs_index
from confiture.rules.alter_steps import AlterSteps, assemble_parts
from confiture.rules.parse_tree import AlterCommand, list_commands, read_name
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import NO_RECIPE, Recipe


def write_alter(statement: ParsedStatement) -> Recipe | None:
    """Return an ALTER TABLE as a recipe with all of its commands; ``None`` if there is no safe form."""
    return write_commands(statement, list(list_commands(statement.stmt)))


def write_commands(statement: ParsedStatement, commands: Sequence[AlterCommand]) -> Recipe | None:
    """Return these commands of an ALTER TABLE as a recipe; ``None`` if there is no safe form."""
    first = AlterSteps(statement)
    if first.table in statement.migration.schema.partition_keys and needs_index(statement.stmt):
        # PostgreSQL refuses USING INDEX for the constraint of a partitioned table.
        return None
    # Twice, because a name may depend on how many of its kind follow.
    steps = AlterSteps(statement, wanted=first.chosen)
    for collected in (first, steps):
        for command in commands:
            if not _add_command(collected, command):
                return None
    return Recipe(tuple(assemble_parts(steps)))


def explain_lack(statement: ParsedStatement) -> str:
    """Return why an ALTER TABLE has no recipe, as the end of a message; empty if that is not known."""
    table = read_name(statement.stmt.relation)
    if table in statement.migration.schema.partition_keys:
        return f"{NO_RECIPE}{table} is partitioned: do it partition by partition"
    return ""


def _add_command(steps: AlterSteps, command: AlterCommand) -> bool:
    """Add the steps of one command, and return False if it has no safe form."""
    if command.sort == "AT_AddColumn":
        return add_column(steps, command)
    if command.sort == "AT_SetNotNull":
        steps.required.append(command.tree.name)
        steps.nullable.add(command.tree.name)
    elif command.sort == "AT_AddConstraint":
        (constraint,) = list_of_command(command)
        return add_constraint(steps, command, constraint)
    elif command.sort == "AT_ValidateConstraint":
        steps.validated.append(command.tree.name)
    else:
        steps.kept.append(command)
    return True
