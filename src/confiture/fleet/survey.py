"""Find the tenants of one database that have nothing to do: one query for the ledgers of many."""

from __future__ import annotations

import os

from attrs import field, frozen

from confiture.config.settings import Settings
from confiture.exceptions import UserFault
from confiture.fleet.target import Target
from confiture.fleet.work import ask_database, build_settings, read_plan
from confiture.ledger.read_many import read_many
from confiture.migrations.planner import select_pending
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import MigrationFile


@frozen
class SurveyTask:
    """What a worker needs to survey tenants of one database. It holds no expanded secret.

    Attributes:
        targets: The tenants.
        settings: The settings of the run, without a URL.
        plan: The checksum of all migration files.
    """

    targets: tuple[Target, ...]
    settings: Settings = field(repr=False)
    plan: str


def survey_targets(task: SurveyTask) -> tuple[str, ...]:
    """Return the names of the targets that have nothing to do.

    Raises:
        UserFault: They cannot be surveyed.
        psycopg.Error: They cannot be surveyed.
    """
    migrations = read_plan(task.settings, task.plan)
    settings = build_settings(task.settings, task.targets[0], os.environ)
    by_schema = {target.ledger_schema or "": target.name for target in task.targets}
    ledgers = ask_database(settings, task.targets[0], lambda conn: read_many(conn, tuple(by_schema)))
    # Nearly all tenants have the same entries, and are compared with the files once.
    known: dict[tuple[object, ...], bool] = {}
    for entries in ledgers.values():
        key = _tell_apart(entries)
        if key not in known:
            known[key] = _has_nothing_to_do(settings, migrations, entries)
    return tuple(by_schema[schema] for schema, entries in ledgers.items() if known[_tell_apart(entries)])


def _tell_apart(entries: tuple[LedgerEntry, ...]) -> tuple[object, ...]:
    return tuple(
        (entry.version, entry.checksum, entry.done, entry.direction, entry.begun, entry.finished)
        for entry in entries
    )


def _has_nothing_to_do(
    settings: Settings, migrations: tuple[MigrationFile, ...], entries: tuple[LedgerEntry, ...]
) -> bool:
    try:
        return not select_pending(migrations, entries, out_of_order=settings.allow_out_of_order)
    except UserFault:
        # The target itself reports how its ledger and the files disagree.
        return False
