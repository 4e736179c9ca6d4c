"""Compare the ledger with the migration files and the installed plugins, without writing anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from confiture.config.settings import Settings
from confiture.exceptions import LedgerFault
from confiture.ledger.history import parse_records, render_history_sql
from confiture.ledger.table import Ledger
from confiture.migrations.planner import determine_statuses, find_late
from confiture.migrations.version import parse_version
from confiture.models.ledger import Disagreement, HistoryRecord, LedgerEntry, Verification
from confiture.models.migration import MigrationFile
from confiture.models.plan import MigrationStatus
from confiture.sources.read_migrations import open_migrations


@frozen
class LastUse:
    """The last migration that a plugin took part in, and the version it had then."""

    plugin: str
    plugin_version: str
    migration: HistoryRecord


def verify(settings: Settings, *, plugins: bool = True) -> Verification:
    """Return the disagreements. Needs only read rights and takes no lock.

    Without ``plugins``, does not compare plugins.

    Raises:
        ConfitureError: The files, the server or the ledger cannot be read.
    """
    ledger = Ledger(settings.schema)
    with open_migrations(settings) as opened:
        conn, scripts = opened.conn, opened.migrations
        entries = ledger.read(conn)
        history = parse_records(ledger.select(conn, render_history_sql(ledger.schema)))
    uses = find_last_uses(history) if plugins else ()
    disagreements = (
        *find_file_disagreements(scripts, entries),
        *(() if settings.allow_out_of_order else find_late_disagreements(scripts, entries)),
        *find_plugin_disagreements(uses, _find_installed() if uses else {}),
    )
    code = LedgerFault.exit_code if disagreements else 0
    return Verification(code, len(history), len(uses), disagreements)


def find_file_disagreements(
    scripts: Sequence[MigrationFile], entries: Sequence[LedgerEntry]
) -> tuple[Disagreement, ...]:
    """Return each changed, missing or unfinished migration, by version."""
    checksums = {parse_version(entry.version): entry.checksum for entry in entries if entry.finished}
    files = {parse_version(script.version): script.checksum for script in scripts}
    return tuple(
        _describe_file_disagreement(
            status, checksums.get(parse_version(status.version)), files.get(parse_version(status.version))
        )
        for status in determine_statuses(scripts, entries)
        if status.state in _FILE_MESSAGES
    )


_FILE_MESSAGES = {
    "changed": (
        "changed since it was applied: {label}",
        "restore the file, or: confiture repair --accept-changed {version}",
    ),
    "missing": (
        "applied, but its file is missing: {label}",
        "restore the file, or: confiture repair --forget {version}",
    ),
    "unfinished": (
        "unfinished: {label}",
        "see what was done and how to continue: confiture repair {version}",
    ),
}


def _describe_file_disagreement(
    status: MigrationStatus, recorded: str | None, found: str | None
) -> Disagreement:
    message, hint = (
        text.format(label=_format_label(status.version, status.name), version=status.version)
        for text in _FILE_MESSAGES[status.state]
    )
    assert status.state in ("changed", "missing", "unfinished")
    return Disagreement(
        status.state, status.version, status.name, message, hint, recorded=recorded, found=found
    )


def find_late_disagreements(
    scripts: Sequence[MigrationFile], entries: Sequence[LedgerEntry]
) -> tuple[Disagreement, ...]:
    """Return each pending migration below an applied one."""
    return tuple(
        Disagreement(
            "out-of-order",
            script.version,
            script.name,
            f"out of order, pending below an applied one: {script.label}",
            "give it a newer version, or apply it anyway: confiture run --allow-out-of-order",
            found=script.checksum,
        )
        for script in find_late(scripts, entries)
    )


def find_last_uses(history: Iterable[HistoryRecord]) -> tuple[LastUse, ...]:
    """Return the last migration each plugin took part in; earlier versions do not matter."""
    uses = {
        plugin.name: LastUse(plugin.name, plugin.version, record)
        for record in history
        for plugin in record.plugins
    }
    return tuple(uses[name] for name in sorted(uses))


def find_plugin_disagreements(
    uses: Iterable[LastUse], installed: Mapping[str, frozenset[str]]
) -> tuple[Disagreement, ...]:
    """Return each plugin that is not installed in the version that took part in its last migration."""
    return tuple(
        _describe_plugin_disagreement(use, installed.get(use.plugin, frozenset()))
        for use in uses
        if use.plugin_version not in installed.get(use.plugin, ())
    )


def _describe_plugin_disagreement(use: LastUse, installed: frozenset[str]) -> Disagreement:
    record = use.migration
    now = f"{', '.join(sorted(installed))} is installed" if installed else "it is not installed"
    return Disagreement(
        "plugin-changed" if installed else "plugin-missing",
        record.version,
        record.name,
        f"plugin {use.plugin} {use.plugin_version} took part in "
        f"{_format_label(record.version, record.name)}; {now}",
        "install that version, or do not compare plugins: confiture verify --no-plugins",
        plugin=use.plugin,
        recorded=use.plugin_version,
        found=", ".join(sorted(installed)) or None,
    )


def _find_installed() -> dict[str, frozenset[str]]:
    from confiture.plugins.find import find_plugins

    found = find_plugins()
    return {
        name: frozenset(plugin.version for plugin in found if plugin.name == name)
        for name in {plugin.name for plugin in found}
    }


def _format_label(version: str, name: str) -> str:
    return f"{version} {name}".rstrip()
