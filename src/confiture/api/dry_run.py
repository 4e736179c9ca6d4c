"""The Python API for a rehearsal: run one migration on a connection and roll it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from psycopg import Connection

from confiture.engine.runner import MigrationResult
from confiture.exceptions import ConfitureError
from confiture.models.migration import Migration
from confiture.models.report import MigrationReport

if TYPE_CHECKING:
    from pathlib import Path

    from confiture.estimate.rehearse_sizes import Production


class DryRunError(ConfitureError):
    """A rehearsed migration failed and was rolled back.

    Attributes:
        migration_name: Its name.
        error: The exception it raised, also in ``__cause__``.
    """

    def __init__(self, migration_name: str, error: BaseException) -> None:
        super().__init__(f"dry run of migration {migration_name!r} failed: {error}")
        self.migration_name = migration_name
        self.error = error
        self.__cause__ = error


@frozen
class DryRunResult:
    """The findings of a rehearsal of one migration.

    Attributes:
        success: True if it ran to its end.
        execution_time_ms: Wall-clock time, hooks included, in milliseconds.
        rows_affected: Rows changed by INSERT, UPDATE, DELETE, MERGE and COPY of the migration, without hooks.
        locked_tables: Schema-qualified names of tables locked with Share or stronger.
        estimated_production_time_ms: The median estimate; ``None`` if unknown or not requested.
        confidence_percent: The probability that production is within 15 % of it; ``None`` if unknown.
        warnings: What could not be seen, and the warnings of the server and of the guards.
        stats: Values that hooks set.
    """

    migration_name: str
    migration_version: str
    success: bool
    execution_time_ms: float
    rows_affected: int
    locked_tables: list[str]
    estimated_production_time_ms: float | None = None
    confidence_percent: float | None = None
    warnings: list[str] = field(factory=list)
    stats: dict[str, Any] = field(factory=dict)

    @classmethod
    def from_result(cls, result: MigrationResult) -> DryRunResult:
        """Return ``result`` in the form of the Python API."""
        report = result.report
        unseen = [f"not rehearsed: {report.reason}"] if report.outcome == "not_rehearsed" else []
        return cls(
            migration_name=report.name,
            migration_version=report.version,
            success=report.outcome == "rehearsed",
            execution_time_ms=report.duration_ms or 0.0,
            rows_affected=report.rows_affected or 0,
            locked_tables=[
                lock.relation for lock in report.locks if lock.kind in ("table", "matview", "foreign")
            ],
            estimated_production_time_ms=report.estimate.p50_ms if report.estimate else None,
            confidence_percent=report.estimate.confidence_percent if report.estimate else None,
            warnings=[*unseen, *_list_server_warnings(report), *report.warnings],
            stats=dict(result.stats),
        )


class DryRunExecutor:
    """Rehearses one migration on a connection."""

    def run(
        self, conn: Connection[Any], migration: Migration, *, production: Production | Path | None = None
    ) -> DryRunResult:
        """Run ``migration``, roll it back, and return the findings.

        With ``production``, the file that ``confiture stats export`` wrote, estimate its time there.

        Raises:
            DryRunError: It failed; ``error`` is the exception.
            LockFault: Another run holds the migration lock.
        """
        from confiture.api.migrator import Migrator

        return Migrator(connection=conn).dry_run(migration, production=production)


def _list_server_warnings(report: MigrationReport) -> list[str]:
    return [
        f"the server warned in line {statement.line}: {message.message}"
        if statement.line
        else f"the server warned: {message.message}"
        for statement in report.statements
        for message in statement.notices
        if message.is_warning
    ]
