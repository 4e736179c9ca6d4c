"""Run one direction of an SQL migration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confiture.models.migration import Migration, SqlScript, Statement


class SqlMigration(Migration):
    """Runs the statements of a file, one by one.

    Attributes:
        script: The statements.
        run_statement: Runs one statement; the engine sets it for each attempt.
    """

    def __init__(self, connection: Any, script: SqlScript) -> None:
        super().__init__(connection)
        self.script = script
        self.run_statement: Callable[[Statement], None] | None = None

    def up(self) -> None:
        """Run the statements."""
        assert self.run_statement is not None
        for statement in self.script.statements:
            self.run_statement(statement)

    # The script holds one direction only, so both methods run all of it.
    down = up
