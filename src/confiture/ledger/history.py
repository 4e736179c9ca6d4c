"""Read from the ledger what was applied when, by whom, and with which hooks and plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.ledger.event_table import read_events
from confiture.ledger.table import Ledger
from confiture.migrations.version import parse_version
from confiture.models.event import Event, History
from confiture.models.ledger import HistoryRecord, HookRecord, PluginRecord
from confiture.postgres.connect import open_connection
from confiture.sql.quote import quote_ident
from confiture.sql.timestamp import render_utc


def read_history(settings: Settings) -> History:
    """Return the applied migrations, newest last, and all events. Needs only read rights and takes no lock.

    Raises:
        ConfitureError: The server cannot be reached, or the role may not read the ledger.
    """
    with open_connection(settings) as conn:
        return read_history_of(conn, Ledger(settings.schema))


def read_history_of(conn: Connection[Any], ledger: Ledger) -> History:
    """Return the history of a database, on a connection to it. Raises like ``read_history``."""
    records = parse_records(ledger.select(conn, render_history_sql(ledger.schema)))
    events = read_events(conn, ledger)
    return History(tuple(_add_event(record, events) for record in records), events)


def _add_event(record: HistoryRecord, events: Sequence[Event]) -> HistoryRecord:
    """Return the record with what the event of its migration knows; one of an older ledger has none."""
    found = [event for event in events if event.kind == "APPLIED" and event.version == record.version]
    if record.baseline or not found:
        return record
    last = found[-1]
    return evolve(
        record,
        # Measured a little later than the ledger's, with the reading of the locks.
        duration_ms=last.duration_ms,
        git_revision=last.git_revision,
        schema_before=last.schema_before,
        schema_after=last.schema_after,
    )


def render_history_sql(schema: str) -> str:
    """Return SQL that reads all columns of the applied migrations."""
    return f"""
        SELECT version, name,
            {render_utc("applied_at")},
            applied_by, duration_ms, transactional, plugins, hooks
        FROM {quote_ident(schema)}.ledger
    """


def parse_records(found: list[tuple[Any, ...]]) -> tuple[HistoryRecord, ...]:
    """Return the rows as records, newest last, and by version if recorded at the same moment."""
    records = [_parse_record(*row) for row in found]
    return tuple(sorted(records, key=lambda record: (record.applied_at, parse_version(record.version))))


def _parse_record(
    version: str,
    name: str,
    applied_at: str,
    applied_by: str,
    duration_ms: float,
    transactional: bool,
    plugins: list[str],
    hooks: list[str],
) -> HistoryRecord:
    return HistoryRecord(
        version=version,
        name=name,
        applied_at=applied_at,
        applied_by=applied_by,
        # A duration of 0 marks a baseline: no migration that ran takes exactly 0 ms.
        duration_ms=duration_ms or None,
        transactional=transactional,
        baseline=not duration_ms,
        plugins=tuple(_parse_plugin(plugin) for plugin in plugins),
        hooks=tuple(_parse_hook(hook) for hook in hooks),
    )


def _parse_plugin(recorded: str) -> PluginRecord:
    name, _, version = recorded.partition("==")
    return PluginRecord(name, version)


def _parse_hook(recorded: str) -> HookRecord:
    phase, _, hook = recorded.partition(" ")
    return HookRecord(phase, hook)
