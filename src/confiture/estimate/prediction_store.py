"""Store predictions and the real times in ``.confiture/estimates.json`` next to the configuration.

A file instead of a table: rehearsals do not write to the database. Modules are imported inside functions
because every ``confiture run`` imports this one, and most have nothing to store.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from confiture.config.settings import Settings
from confiture.exceptions import ConfigurationFault, describe_error

if TYPE_CHECKING:
    from psycopg import Connection

    from confiture.estimate.own_history import Calibration, KeptMigration
    from confiture.estimate.plan_estimate import Forecast
    from confiture.estimate.prior import OwnHistory
    from confiture.models.report import Report

PREDICTIONS_FILE = Path(".confiture", "estimates.json")
# A partitioned table itself has no rows: sum its leaves. NULL if the table does not exist or was never
# analyzed (reltuples is -1 then).
_ROWS_SQL = """
    SELECT CASE WHEN bool_and(reltuples >= 0) THEN sum(reltuples)::float8 END FROM pg_catalog.pg_class
    WHERE relkind <> 'p' AND (oid = pg_catalog.to_regclass({name})
        OR oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass({name}))))
"""


class PredictionStoreFault(ConfigurationFault):
    """The file with predictions cannot be read."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(
            f"{file} cannot be read: {why}",
            hint="restore the file, or delete it to start anew without earlier predictions",
        )


@frozen
class PredictionStore:
    """The file of predictions, as it was read.

    Attributes:
        settings: Say where the file and the migrations are.
        kept: The migrations in the file.
        fault: Why the file cannot be read. If set, it is not overwritten.
    """

    settings: Settings
    kept: tuple[KeptMigration, ...] = ()
    fault: str | None = None

    @classmethod
    def open(cls, settings: Settings) -> PredictionStore:
        """Read the file; if it cannot be read, return an empty store with the reason in ``fault``."""
        try:
            return cls(settings, read_predictions(settings))
        except PredictionStoreFault as fault:
            return cls(settings, fault=f"{fault.message}; {fault.hint}")

    @property
    def own_history(self) -> OwnHistory:
        """The correction that the stored real runs make to the shipped prior."""
        from confiture.estimate.own_history import learn_from_runs

        return learn_from_runs(self.kept)

    def keep_predictions(self, forecasts: Sequence[Forecast], own: OwnHistory) -> tuple[str, ...]:
        """Store the predictions of a plan; return notes for the report if that failed."""
        from confiture.estimate.own_history import collect_kept, merge_kept
        from confiture.sources.read_migrations import read_migrations

        if self.fault:
            return (self.fault,)
        checksums = {migration.version: migration.checksum for migration in read_migrations(self.settings)}
        new = collect_kept(forecasts, checksums, own, _format_now())
        return self._write(merge_kept(self.kept, new)) if new else ()

    def keep_outcomes(
        self, report: Report, rows: dict[str, float | None], awaited: Sequence[KeptMigration]
    ) -> Report:
        """Store the real times of a run; return its report, with a note if that failed.

        Args:
            report: The report of the run.
            rows: Rows of each table before the run.
            awaited: The stored migrations that were unchanged and not yet run.
        """
        from confiture.estimate.own_history import add_outcome

        applied = {
            migration.version: migration for migration in report.migrations if migration.outcome == "applied"
        }
        outcomes = {
            kept.version: add_outcome(kept, applied[kept.version], rows, _format_now())
            for kept in awaited
            if kept.version in applied
        }
        if not outcomes:
            return report
        notes = self._write([kept if kept.ran_at else outcomes.get(kept.version, kept) for kept in self.kept])
        return evolve(report, notes=(*report.notes, *notes))

    def _write(self, everything: Sequence[KeptMigration]) -> tuple[str, ...]:
        from confiture.estimate.prediction_document import build_document

        file = self.settings.root / PREDICTIONS_FILE
        try:
            file.parent.mkdir(exist_ok=True)
            # Write a temporary file and rename it: an interruption leaves the old file intact.
            new = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
            new.write_text(json.dumps(build_document(everything), indent=1) + "\n", encoding="utf-8")
            new.replace(file)
        except OSError as error:
            return (f"the predictions could not be stored: {file}: {error.strerror}",)
        return ()


def run_and_keep_outcomes(settings: Settings, run: Callable[[], Report]) -> Report:
    """Call ``run`` and return its report; store the real times of the migrations that were predicted."""
    # Most users never estimate: they pay neither for the imports nor for a second connection.
    if not (settings.root / PREDICTIONS_FILE).exists():
        return run()
    store = PredictionStore.open(settings)
    awaited = _find_awaited(store)
    # Before the run, which may change the number of rows.
    rows = _count_rows(settings, awaited) if awaited else {}
    report = run()
    try:
        return store.keep_outcomes(report, rows, awaited)
    except Exception as error:
        # The migrations are applied: their report matters more than what was predicted.
        return evolve(report, notes=(*report.notes, f"the times were not kept: {describe_error(error)}"))


def _find_awaited(store: PredictionStore) -> list[KeptMigration]:
    """Return the stored migrations that were not run yet and whose files are unchanged."""
    from confiture.sources.read_migrations import read_migrations

    checksums = {migration.version: migration.checksum for migration in read_migrations(store.settings)}
    return [kept for kept in store.kept if not kept.ran_at and checksums.get(kept.version) == kept.checksum]


def _count_rows(settings: Settings, awaited: Sequence[KeptMigration]) -> dict[str, float | None]:
    """Return the rows of each table whose size decides a prediction; ``None`` if not known."""
    from confiture.postgres.connect import open_connection

    names = {statement.relation for kept in awaited for statement in kept.statements if statement.relation}
    with open_connection(settings) as conn:
        return {name: _count_table_rows(conn, name) for name in sorted(names)}


def _count_table_rows(conn: Connection[Any], name: str) -> float | None:
    from confiture.postgres.session import fetch_rows, quote_literal

    rows: float | None = fetch_rows(conn, _ROWS_SQL.format(name=quote_literal(name)))[0][0]
    return rows


def read_calibration(settings: Settings) -> Calibration:
    """Return the accuracy of the stored predictions that were run.

    Raises:
        PredictionStoreFault: If the file cannot be read.
    """
    from confiture.estimate.own_history import compute_calibration

    kept, damaged = _read_file(settings)
    return evolve(compute_calibration(kept), damaged=damaged)


def read_predictions(settings: Settings) -> tuple[KeptMigration, ...]:
    """Return the stored migrations, without damaged ones; none if nothing was predicted yet.

    Raises:
        PredictionStoreFault: If the file cannot be read.
    """
    return _read_file(settings)[0]


def _read_file(settings: Settings) -> tuple[tuple[KeptMigration, ...], int]:
    """Return the stored migrations, and the number of damaged ones."""
    from confiture.estimate.prediction_document import parse_document

    file = settings.root / PREDICTIONS_FILE
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        kept = parse_document(document)
        return kept, len(document["migrations"]) - len(kept)
    except FileNotFoundError:
        return (), 0
    except OSError as error:
        raise PredictionStoreFault(file, error.strerror or "") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PredictionStoreFault(file, "it is not a file of predictions") from None


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
