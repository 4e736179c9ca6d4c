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
    from confiture.estimate.prior import Own
    from confiture.models.report import Report

FILE = Path(".confiture", "estimates.json")
# Leaves of a partitioned table; a name that leads nowhere has no rows that are known.
_ROWS = """
    SELECT CASE WHEN bool_and(reltuples >= 0) THEN sum(reltuples)::float8 END FROM pg_catalog.pg_class
    WHERE relkind <> 'p' AND (oid = pg_catalog.to_regclass({name})
        OR oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass({name}))))
"""


class KeptFault(ConfigurationFault):
    """What is kept of predictions cannot be read."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(
            f"{file} cannot be read: {why}",
            hint="restore it, or remove it: predictions and what became of them are kept anew from then on",
        )


@frozen
class Keeping:
    """Where predictions are kept, and what is there already.

    Attributes:
        settings: Lead to the file and to the migrations.
        before: What is there.
        fault: Why it cannot be read: nothing is written then.
    """

    settings: Settings
    before: tuple[KeptMigration, ...] = ()
    fault: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Keeping:
        """Return what is kept; a file that cannot be read stops nobody."""
        try:
            return cls(settings, read(settings))
        except KeptFault as fault:
            return cls(settings, fault=f"{fault.message}; {fault.hint}")

    @property
    def own(self) -> Own:
        """What earlier runs teach."""
        from confiture.estimate.own_history import learned

        return learned(self.before)

    def predicted(self, found: Sequence[Forecast], own: Own) -> tuple[str, ...]:
        """Keep what was predicted; return what is to be said of that."""
        from confiture.estimate.own_history import kept, merged
        from confiture.migrations.folder import read_folder

        if self.fault:
            return (self.fault,)
        checksums = {each.version: each.checksum for each in read_folder(self.settings.migrations)}
        new = kept(found, checksums, own, _now())
        return self._write(merged(self.before, new)) if new else ()

    def ran(self, report: Report, rows: dict[str, float | None], awaited: Sequence[KeptMigration]) -> Report:
        """Keep what became of the predictions that were ``awaited``."""
        from confiture.estimate.own_history import with_outcome

        applied = {each.version: each for each in report.migrations if each.outcome == "applied"}
        outcomes = {
            each.version: with_outcome(each, applied[each.version], rows, _now())
            for each in awaited
            if each.version in applied
        }
        if not outcomes:
            return report
        said = self._write(
            [each if each.ran_at else outcomes.get(each.version, each) for each in self.before]
        )
        return evolve(report, notes=(*report.notes, *said))

    def _write(self, everything: Sequence[KeptMigration]) -> tuple[str, ...]:
        from confiture.estimate.own_history import to_json

        file = self.settings.root / FILE
        try:
            file.parent.mkdir(exist_ok=True)
            # Beside it first: whoever is interrupted leaves the old one whole.
            new = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
            new.write_text(json.dumps(to_json(everything), indent=1) + "\n", encoding="utf-8")
            new.replace(file)
        except OSError as error:
            return (f"what was predicted could not be kept: {file}: {error.strerror}",)
        return ()


def beside_predictions(settings: Settings, run: Callable[[], Report]) -> Report:
    """Run, and keep what it took beside what was predicted of it, where something was."""
    if not (settings.root / FILE).exists():
        return run()
    keeping = Keeping.of(settings)
    awaited = _awaited(keeping)
    rows = _rows(settings, awaited) if awaited else {}
    return keeping.ran(run(), rows, awaited)


def _awaited(keeping: Keeping) -> list[KeptMigration]:
    """Return the predictions of migrations that are still written as they were."""
    from confiture.migrations.folder import read_folder

    checksums = {each.version: each.checksum for each in read_folder(keeping.settings.migrations)}
    return [
        each for each in keeping.before if not each.ran_at and checksums.get(each.version) == each.checksum
    ]


def _rows(settings: Settings, awaited: Sequence[KeptMigration]) -> dict[str, float | None]:
    """Return how many rows the tables have that predictions grow with, before anything is run."""
    from confiture.postgres.connect import connected

    names = {one.relation for each in awaited for one in each.statements if one.relation}
    with connected(settings) as conn:
        return {name: _rows_of(conn, name) for name in sorted(names)}


def _rows_of(conn: Connection[Any], name: str) -> float | None:
    from confiture.postgres.session import literal, rows

    found: float | None = rows(conn, _ROWS.format(name=literal(name)))[0][0]
    return found


def read_calibration(settings: Settings) -> Calibration:
    """Return how good predictions were so far.

    Raises:
        KeptFault: What is kept cannot be read.
    """
    from confiture.estimate.own_history import calibration

    return calibration(read(settings))


def read(settings: Settings) -> tuple[KeptMigration, ...]:
    """Return what is kept; nothing where nothing was predicted yet.

    Raises:
        KeptFault: It cannot be read.
    """
    from confiture.estimate.own_history import from_json

    file = settings.root / FILE
    try:
        return from_json(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise KeptFault(file, error.strerror or "") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise KeptFault(file, "it is not as it was written") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
