"""Read what the dashboard shows: the history of one or more databases."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import Connection

from confiture.api.schema_versions import find_recorded_drift
from confiture.config.settings import Settings, mask_password
from confiture.estimate.own_history import compute_calibration
from confiture.estimate.prediction_store import read_predictions
from confiture.exceptions import ConfitureError
from confiture.ledger.event_table import find_unread
from confiture.ledger.history import read_history_of
from confiture.ledger.table import Ledger
from confiture.migrations.planner import determine_statuses
from confiture.models.dashboard import Dashboard, DatabaseView, ObjectVersions, PredictionPair
from confiture.models.plan import MigrationStatus
from confiture.postgres.connect import open_connection, read_server_version
from confiture.sources.read_migrations import FirstReading, read_first
from confiture.sql.quote import quote_ident


def read_dashboard(databases: Iterable[tuple[str, Settings]]) -> Dashboard:
    """Return the history of each database; a named one that cannot be read is shown with the reason.

    Needs read rights only, and takes no lock.

    Raises:
        ConfitureError: The one database without a name, that of the settings, cannot be read.
    """
    views = tuple(_read_or_explain(name, settings) for name, settings in databases)
    return Dashboard(datetime.now(UTC).isoformat(timespec="seconds"), views)


def _read_or_explain(name: str, settings: Settings) -> DatabaseView:
    if not name:
        return _read_database(name, settings)
    try:
        return _read_database(name, settings)
    except ConfitureError as fault:
        return DatabaseView(name, fault=mask_password(str(fault)))
    except psycopg.Error as error:
        return DatabaseView(name, fault=error.diag.message_primary or mask_password(str(error)))


def _read_database(name: str, settings: Settings) -> DatabaseView:
    ledger = Ledger(settings.schema)
    first = read_first(settings)
    with open_connection(settings) as conn:
        history = read_history_of(conn, ledger)
        statuses = _read_statuses(conn, first, ledger)
        unread = find_unread(conn, ledger)
        drift = None if unread else find_recorded_drift(conn, settings)
        limit = settings.gate.max_block
        return DatabaseView(
            name=name or conn.info.dbname,
            server_version=read_server_version(conn),
            migrations=history.migrations,
            events=history.events,
            pending=_select(statuses, "pending"),
            changed=_select(statuses, "changed", "missing", "unfinished") or (),
            drift=drift,
            unread=unread,
            objects=_read_objects(conn, ledger),
            # The file is the project's, and does not say which of several databases was meant.
            predictions=() if name else _read_predictions(settings),
            block_limit_ms=limit.most if limit else None,
            block_limit=limit.written if limit else None,
        )


def _read_statuses(
    conn: Connection[Any], first: FirstReading, ledger: Ledger
) -> tuple[MigrationStatus, ...] | None:
    """Return the state of each migration; ``None`` if the files cannot be read."""
    try:
        return determine_statuses(first.settle(conn).migrations, ledger.read(conn))
    except ConfitureError:
        return None


def _select(statuses: tuple[MigrationStatus, ...] | None, *states: str) -> tuple[str, ...] | None:
    if statuses is None:
        return None
    return tuple(status.version for status in statuses if status.state in states)


def _read_objects(conn: Connection[Any], ledger: Ledger) -> tuple[ObjectVersions, ...]:
    query = f"""
        SELECT kind, identity, count(*), max(number) FROM {quote_ident(ledger.schema)}.schema_object
        GROUP BY kind, identity ORDER BY count(*) DESC, max(number) DESC, kind, identity
    """
    return tuple(ObjectVersions(*row) for row in ledger.select(conn, query))


def _read_predictions(settings: Settings) -> tuple[PredictionPair, ...]:
    lines = compute_calibration(read_predictions(settings)).statements
    return tuple(
        PredictionPair(line.version, line.line, line.p50_ms, *line.interval90_ms, line.actual_ms)
        for line in lines
        if line.p50_ms is not None
    )
