"""Run one direction of an SQL migration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from confiture.exceptions import MigrationFault
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


class CheckedSqlMigration(SqlMigration):
    """Checks the outcome with another script, and keeps nothing that it does."""

    def verify(self) -> None:
        """Run the script that checks the outcome; it fails where one of its statements does."""
        assert self.script.check is not None
        with self._connection.transaction(force_rollback=True):
            for statement in self.script.check.statements:
                self._check(statement, self.script.check)

    def _check(self, statement: Statement, check: SqlScript) -> None:
        try:
            self._connection.execute(statement.sql)
        except psycopg.Error as error:
            message = error.diag.message_primary or str(error)
            raise MigrationFault(
                f"the outcome is not as it should be: {message}",
                hint="correct the migration, or what checks it; nothing of it was kept"
                if self.transactional
                else "correct the migration, or what checks it",
                file=check.file,
                line=statement.line,
            ) from error
