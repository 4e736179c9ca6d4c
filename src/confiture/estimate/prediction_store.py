"""Keep what was predicted beside the configuration, and what a real run took beside that."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from confiture.config.settings import Settings
from confiture.exceptions import ConfigurationFault

if TYPE_CHECKING:
    from psycopg import Connection

    from confiture.estimate.own_history import Calibration, KeptMigration
    from confiture.estimate.plan_estimate import Forecast
    from confiture.estimate.prior import OwnHistory
    from confiture.models.report import Report

PREDICTIONS_FILE = Path(".confiture", "estimates.json")
# Leaves of a partitioned table; a name that leads nowhere has no rows that are known.
_ROWS_SQL = """
    SELECT CASE WHEN bool_and(reltuples >= 0) THEN sum(reltuples)::float8 END FROM pg_catalog.pg_class
    WHERE relkind <> 'p' AND (oid = pg_catalog.to_regclass({name})
        OR oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass({name}))))
"""


class PredictionStoreFault(ConfigurationFault):
    """What is kept of predictions cannot be read."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(
            f"{file} cannot be read: {why}",
            hint="restore it, or remove it: predictions and what became of them are kept anew from then on",
        )


@frozen
class PredictionStore:
    """Where predictions are kept, and what is there already.

    Attributes:
        settings: Lead to the file and to the migrations.
        kept: What is there.
        fault: Why it cannot be read: nothing is written then.
    """

    settings: Settings
    kept: tuple[KeptMigration, ...] = ()
    fault: str | None = None

    @classmethod
    def open(cls, settings: Settings) -> PredictionStore:
        """Return what is kept; a file that cannot be read stops nobody."""
        try:
            return cls(settings, read_predictions(settings))
        except PredictionStoreFault as fault:
            return cls(settings, fault=f"{fault.message}; {fault.hint}")

    @property
    def own_history(self) -> OwnHistory:
        """What earlier runs teach."""
        from confiture.estimate.own_history import learn_from_runs

        return learn_from_runs(self.kept)

    def keep_predictions(self, forecasts: Sequence[Forecast], own: OwnHistory) -> tuple[str, ...]:
        """Keep what was predicted; return what is to be said of that."""
        from confiture.estimate.own_history import collect_kept, merge_kept
        from confiture.migrations.folder import read_folder

        if self.fault:
            return (self.fault,)
        checksums = {each.version: each.checksum for each in read_folder(self.settings.migrations)}
        new = collect_kept(forecasts, checksums, own, _format_now())
        return self._write(merge_kept(self.kept, new)) if new else ()

    def keep_outcomes(
        self, report: Report, rows: dict[str, float | None], awaited: Sequence[KeptMigration]
    ) -> Report:
        """Keep what became of the predictions that were ``awaited``."""
        from confiture.estimate.own_history import add_outcome

        applied = {
            migration.version: migration for migration in report.migrations if migration.outcome == "applied"
        }
        outcomes = {
            each.version: add_outcome(each, applied[each.version], rows, _format_now())
            for each in awaited
            if each.version in applied
        }
        if not outcomes:
            return report
        said = self._write([each if each.ran_at else outcomes.get(each.version, each) for each in self.kept])
        return evolve(report, notes=(*report.notes, *said))

    def _write(self, everything: Sequence[KeptMigration]) -> tuple[str, ...]:
        from confiture.estimate.own_history import to_json

        file = self.settings.root / PREDICTIONS_FILE
        try:
            file.parent.mkdir(exist_ok=True)
            # Beside it first: whoever is interrupted leaves the old one whole.
            new = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
            new.write_text(json.dumps(to_json(everything), indent=1) + "\n", encoding="utf-8")
            new.replace(file)
        except OSError as error:
            return (f"what was predicted could not be kept: {file}: {error.strerror}",)
        return ()


def run_and_keep_outcomes(settings: Settings, run: Callable[[], Report]) -> Report:
    """Run, and keep what it took beside what was predicted of it, where something was."""
    if not (settings.root / PREDICTIONS_FILE).exists():
        return run()
    keeping = PredictionStore.open(settings)
    awaited = _find_awaited(keeping)
    rows = _count_rows(settings, awaited) if awaited else {}
    return keeping.keep_outcomes(run(), rows, awaited)


def _find_awaited(store: PredictionStore) -> list[KeptMigration]:
    """Return the predictions of migrations that are still written as they were."""
    from confiture.migrations.folder import read_folder

    checksums = {each.version: each.checksum for each in read_folder(store.settings.migrations)}
    return [each for each in store.kept if not each.ran_at and checksums.get(each.version) == each.checksum]


def _count_rows(settings: Settings, awaited: Sequence[KeptMigration]) -> dict[str, float | None]:
    """Return how many rows the tables have that predictions grow with, before anything is run."""
    from confiture.postgres.connect import open_connection

    names = {one.relation for each in awaited for one in each.statements if one.relation}
    with open_connection(settings) as conn:
        return {name: _count_table_rows(conn, name) for name in sorted(names)}


def _count_table_rows(conn: Connection[Any], name: str) -> float | None:
    from confiture.postgres.session import fetch_rows, quote_literal

    found: float | None = fetch_rows(conn, _ROWS_SQL.format(name=quote_literal(name)))[0][0]
    return found


def read_calibration(settings: Settings) -> Calibration:
    """Return how good predictions were so far.

    Raises:
        KeptFault: What is kept cannot be read.
    """
    from confiture.estimate.own_history import compute_calibration

    return compute_calibration(read_predictions(settings))


def read_predictions(settings: Settings) -> tuple[KeptMigration, ...]:
    """Return what is kept; nothing where nothing was predicted yet.

    Raises:
        KeptFault: It cannot be read.
    """
    from confiture.estimate.own_history import from_json

    file = settings.root / PREDICTIONS_FILE
    try:
        return from_json(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise PredictionStoreFault(file, error.strerror or "") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PredictionStoreFault(file, "it is not as it was written") from None


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
