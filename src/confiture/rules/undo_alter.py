"""Write what undoes the steps of an ALTER TABLE, each for the down part of its migration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from confiture.rules.parse_tree import AlterCommand
from confiture.sql.quote import quote_ident


def undo_commands(head: str, commands: Sequence[AlterCommand]) -> tuple[str, ...] | None:
    """Return the ALTER TABLE that undoes these commands; ``None`` if one of them cannot be undone so.

    Args:
        head: ``ALTER TABLE`` and the table.
        commands: Commands that add columns and constraints; of others the state before is not known.
    """
    drops = [_undo_command(command) for command in reversed(commands)]
    if None in drops:
        return None
    return (f"{head} {', '.join(filter(None, drops))};",) if drops else ()


def _undo_command(command: AlterCommand) -> str | None:
    # With IF NOT EXISTS the column may have been there before.
    if command.sort == "AT_AddColumn" and not command.tree.missing_ok:
        return f"DROP COLUMN {quote_ident(command.definition.column_def.colname)}"
    if command.sort == "AT_AddConstraint" and command.definition.constraint.conname:
        return f"DROP CONSTRAINT {quote_ident(command.definition.constraint.conname)}"
    return None


def drop_constraints(head: str, names: Iterable[str]) -> str:
    """Return the ALTER TABLE that drops constraints, whose names are SQL."""
    return f"{head} {', '.join(f'DROP CONSTRAINT {name}' for name in names)};"
