"""Describe what would run now, and turn an operator's decisions into an approved plan."""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from attrs import evolve

from confiture.catalog.read_schema import read_fingerprint
from confiture.config.settings import Settings
from confiture.ledger.event_table import read_events
from confiture.ledger.table import Ledger
from confiture.migrations.planner import select_pending
from confiture.postgres.connect import open_connection, read_server_version
from confiture.sources.read_migrations import open_migrations
from confiture.wizard.card import Card
from confiture.wizard.interrupted_plan import drop_applied
from confiture.wizard.plan_file import ApprovedMigration, ApprovedPlan
from confiture.wizard.wizard_session import WizardSession

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


def describe_pending(
    settings: Settings, plugins: Iterable[LoadedPlugin], to: str | None = None
) -> ApprovedPlan:
    """Return what a run would do now, as a plan that nobody has approved yet.

    Raises:
        ConfitureError: The files, the server or the ledger cannot be read.
    """
    plugins = tuple(plugins)
    with open_migrations(settings) as opened:
        entries = Ledger(settings.schema).read(opened.conn)
        pending = select_pending(opened.migrations, entries, to=to, out_of_order=settings.allow_out_of_order)
        return ApprovedPlan(
            database=opened.conn.info.dbname,
            server_version=read_server_version(opened.conn),
            fingerprint=read_fingerprint(opened.conn, settings.schema),
            plugins=tuple(f"{plugin.name}=={plugin.version}" for plugin in plugins),
            migrations=tuple(ApprovedMigration(file.version, file.name, file.checksum) for file in pending),
            text_findings=_judge_texts(opened.settings, plugins, {file.version for file in pending}),
        )


def find_rest(settings: Settings, approved: ApprovedPlan, current: ApprovedPlan) -> ApprovedPlan:
    """Return what is left of a plan whose run was interrupted; the plan itself if that cannot be proved.

    Raises:
        ConfitureError: The server or the ledger cannot be read.
    """
    with open_connection(settings) as conn:
        ledger = Ledger(settings.schema)
        checksums = {entry.version: entry.checksum for entry in ledger.read(conn)}
        return drop_applied(approved, read_events(conn, ledger), checksums, current.fingerprint)


def _judge_texts(
    settings: Settings, plugins: tuple[LoadedPlugin, ...], versions: set[str]
) -> tuple[str, ...]:
    if not versions:
        return ()
    from confiture.rules.lint import lint

    report = lint(settings, plugins, severity=settings.gate.severity, allow_empty=True)
    return tuple(
        f"{finding.migration} {finding.rule} {finding.severity} {finding.fingerprint}"
        for finding in report.findings
        if finding.migration in versions and not finding.ignored
    )


def approve(session: WizardSession, current: ApprovedPlan) -> ApprovedPlan:
    """Return the plan of what was chosen; all that was not is skipped."""
    levels = {card.migration.version: card.level for card in session.chosen}
    return evolve(
        current,
        migrations=tuple(
            evolve(migration, level=levels[migration.version])
            for migration in current.migrations
            if migration.version in levels
        ),
        skipped=tuple(
            migration.version for migration in current.migrations if migration.version not in levels
        ),
        findings=_list_fingerprints(session.chosen),
        approved_by=getpass.getuser(),
        approved_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _list_fingerprints(cards: Iterable[Card]) -> tuple[str, ...]:
    return tuple(finding.fingerprint for card in cards for finding in card.findings)
