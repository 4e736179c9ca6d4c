"""Read the schema's fingerprint, find drift, and compare the schemas of two versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg import Connection

from confiture.api.object_versions import read_object_versions
from confiture.catalog.compare_schemas import compare_schemas
from confiture.catalog.read_schema import read_fingerprint, read_objects
from confiture.config.settings import Settings
from confiture.exceptions import UsageFault
from confiture.ledger.event_table import find_unread, read_events, read_recorded_objects
from confiture.ledger.table import Ledger
from confiture.migrations.planner import find_script
from confiture.migrations.version import parse_version
from confiture.models.event import UNREAD, Event
from confiture.models.schema import (
    Drift,
    DriftBasis,
    ObjectDifference,
    SchemaObject,
    SchemaVersion,
    VersionDiff,
)
from confiture.postgres.connect import open_connection, read_server_version
from confiture.sources.read_migrations import OpenedMigrations, read_first, read_migrations

if TYPE_CHECKING:
    from confiture.api.built_schema import BuildPlace

_LABELS = {"recorded": "as recorded", "migrations": "as the migrations make it"}


def read_schema_version(settings: Settings, at: str | None = None) -> SchemaVersion:
    """Return the fingerprint of the live schema, or what was recorded ``at`` a time or after a version.

    Needs read rights only, and takes no lock. The live schema comes with the versions of objects that the
    configured plugins know.

    Raises:
        PluginFault: A configured plugin cannot be used.
        UsageFault: Nothing was recorded then, or ``at`` is neither a time nor a version.
        LockFault: A table that a view reads is locked.
    """
    with open_connection(settings) as conn:
        if at is None:
            fingerprint = read_fingerprint(conn, settings.schema)
            objects, warnings = read_object_versions(conn, settings)
            return SchemaVersion(fingerprint, read_server_version(conn), objects=objects, warnings=warnings)
        return find_recorded(read_events(conn, Ledger(settings.schema)), at)


def find_recorded(events: Sequence[Event], at: str) -> SchemaVersion:
    """Return the fingerprint after a version was last applied, or after the last event until a time.

    Raises:
        UsageFault: Nothing was recorded then, or ``at`` is neither a time nor a version.
    """
    version = parse_version(at)
    found = [event for event in events if event.kind == "APPLIED" and parse_version(event.version) == version]
    if not found:
        moment = _parse_time(at)
        found = [event for event in events if datetime.fromisoformat(event.at) <= moment]
    if not found:
        raise UsageFault(
            f"nothing was recorded until {at}", hint="see what was recorded when: confiture history"
        )
    last = found[-1]
    if last.schema_after is None:
        raise UsageFault(
            f"the schema was not read after {last.label}: {last.schema_unread}",
            hint=f"build it from the migrations: confiture diff {last.version} OTHER-VERSION",
        )
    return SchemaVersion(last.schema_after, last.server_version or "", last.at, last.version)


def _parse_time(text: str) -> datetime:
    try:
        if text.isdigit():
            raise ValueError("a version, though fromisoformat would read 20260131 as a day")
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageFault(
            f"--at {text}: no schema was recorded after a migration of this version, and it is no time",
            hint="write a version that confiture history shows with its schema, or a time as in "
            "2026-01-31T12:00 (UTC)",
        ) from None
    if not moment.microsecond:
        # As history prints it: without the fraction, and an event of that second is meant.
        moment = moment.replace(microsecond=999_999)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def find_drift(
    settings: Settings, against: DriftBasis | None = None, place: BuildPlace = "embedded"
) -> Drift:
    """Compare the live schema with what the runs recorded, or with what the applied migrations make.

    Without ``against``, the recorded schema is used; the migrations are used if none is recorded, or if the
    schema was not read after the last migration.

    Raises:
        UsageFault: ``against`` is ``recorded``, and no schema is, or not the changes of the last migration.
        MigrationFault: An applied migration fails on an empty database.
        ConfitureError: The schema cannot be read or built.
    """
    ledger = Ledger(settings.schema)
    with open_connection(settings, direct=True) as conn:
        live = read_objects(conn, settings.schema)
        expected = () if against == "migrations" else read_recorded_objects(conn, ledger)
        unread = find_unread(conn, ledger) if expected else None
        if against == "recorded" and (unread or not expected):
            raise _build_unrecorded_fault(unread)
        if unread:
            expected = ()
        basis: DriftBasis = "recorded" if expected else "migrations"
        if not expected:
            opened = read_first(settings).settle(conn)
            expected = _build_applied(opened, ledger, place)
            live = _leave_out_tool(live, opened)
    differences = compare_schemas(expected, live, before_label=_LABELS[basis], after_label="live")
    count = len({(item.kind, item.identity) for item in (*live, *expected)})
    return Drift(basis, count, differences, unread)


def _build_unrecorded_fault(unread: str | None) -> UsageFault:
    if unread is None:
        return UsageFault(
            "no run has recorded the schema of this database yet",
            hint="compare it with what the migrations make: confiture drift --against migrations",
        )
    return UsageFault(
        f"what {unread} changed is not recorded, because the schema was not read after it: {UNREAD}",
        hint="compare it with what the migrations make: confiture drift --against migrations; the next run "
        "records the schema as it finds it",
    )


def find_recorded_drift(conn: Connection[Any], settings: Settings) -> tuple[ObjectDifference, ...] | None:
    """Return the objects that differ from what the runs recorded; ``None`` if nothing is recorded."""
    expected = read_recorded_objects(conn, Ledger(settings.schema))
    if not expected:
        return None
    live = read_objects(conn, settings.schema)
    return compare_schemas(expected, live, before_label=_LABELS["recorded"], after_label="live")


def _build_applied(opened: OpenedMigrations, ledger: Ledger, place: BuildPlace) -> tuple[SchemaObject, ...]:
    from confiture.api.built_schema import open_builder

    applied = {parse_version(entry.version) for entry in ledger.read(opened.conn) if entry.finished}
    versions = [script.version for script in opened.migrations if parse_version(script.version) in applied]
    with open_builder(opened.settings, opened.conn, place) as builder:
        return builder.build(versions)


def _leave_out_tool(live: tuple[SchemaObject, ...], opened: OpenedMigrations) -> tuple[SchemaObject, ...]:
    """Return the objects without the ledger of an adopted tool, which no migration makes."""
    if opened.tool is None:
        return live
    table = opened.tool[1]
    mentions = (f" ON {table} ", f" OWNED BY {table}.", f" ON TABLE {table} ", f" ON COLUMN {table}.")
    return tuple(
        item
        for item in live
        if (item.kind, item.identity) != ("table", table) and not any(text in item.ddl for text in mentions)
    )


def diff_versions(settings: Settings, before: str, after: str) -> VersionDiff:
    """Return how the schema differs between two versions, built from the migrations on an embedded server.

    Raises:
        UsageFault: There is no migration of a version.
        MigrationFault: A migration fails on an empty database.
        ServerFault: The embedded server cannot be started.
    """
    from confiture.api.built_schema import open_builder

    scripts = read_migrations(settings)
    first, second = (find_script(scripts, version).version for version in (before, after))
    order = [script.version for script in scripts]
    built = {}
    with open_builder(settings) as builder:
        # The lower first: the other one needs its migrations too.
        for version in sorted((first, second), key=order.index):
            built[version] = builder.build(order[: order.index(version) + 1])
    differences = compare_schemas(built[first], built[second], before_label=first, after_label=second)
    return VersionDiff(first, second, differences)
