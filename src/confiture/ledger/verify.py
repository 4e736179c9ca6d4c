"""Compare the ledger with the files, and with the plugins that are installed. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from confiture.config.settings import Settings
from confiture.exceptions import LedgerFault
from confiture.ledger.history import history_sql, records
from confiture.ledger.table import Ledger
from confiture.migrations.planner import statuses
from confiture.migrations.version import numbers
from confiture.models.ledger import Disagreement, Entry, Record, Verification
from confiture.models.migration import Script
from confiture.models.plan import MigrationStatus
from confiture.postgres.connect import connected


@frozen
class LastUse:
    """The last migration that a plugin took part in, and the version it had then."""

    plugin: str
    plugin_version: str
    migration: Record


def verify(settings: Settings, *, plugins: bool = True) -> Verification:
    """Return what disagrees; read rights are enough, no lock is taken.

    Without ``plugins`` those are left out.

    Raises:
        ConfitureError: The files, the server or the ledger cannot be read.
    """
    from confiture.migrations.folder import read_folder

    scripts = read_folder(settings.migrations)
    ledger = Ledger(settings.schema)
    with connected(settings) as conn:
        entries = ledger.read(conn)
        history = records(ledger.select(conn, history_sql(ledger.schema)))
    uses = last_uses(history) if plugins else ()
    disagreements = (
        *file_disagreements(scripts, entries),
        *(() if settings.allow_out_of_order else late_disagreements(scripts, entries)),
        *plugin_disagreements(uses, _installed() if uses else {}),
    )
    code = LedgerFault.exit_code if disagreements else 0
    return Verification(code, len(history), len(uses), disagreements)


def file_disagreements(scripts: Sequence[Script], entries: Sequence[Entry]) -> tuple[Disagreement, ...]:
    """Return each changed, missing or unfinished migration, by version."""
    checksums = {numbers(entry.version): entry.checksum for entry in entries if entry.finished}
    files = {numbers(script.version): script.checksum for script in scripts}
    return tuple(
        _of_file(status, checksums.get(numbers(status.version)), files.get(numbers(status.version)))
        for status in statuses(scripts, entries)
        if status.state in _OF_FILE
    )


_OF_FILE = {
    "changed": (
        "changed since it was applied: {label}",
        "restore the file, or: confiture repair --accept-changed {version}",
    ),
    "missing": (
        "applied, but its file is missing: {label}",
        "restore the file, or: confiture repair --forget {version}",
    ),
    "unfinished": ("unfinished: {label}", "see what was done, and the way on: confiture repair {version}"),
}


def _of_file(status: MigrationStatus, recorded: str | None, found: str | None) -> Disagreement:
    message, hint = (
        text.format(label=_label(status.version, status.name), version=status.version)
        for text in _OF_FILE[status.state]
    )
    assert status.state in ("changed", "missing", "unfinished")
    return Disagreement(
        status.state, status.version, status.name, message, hint, recorded=recorded, found=found
    )


def late_disagreements(scripts: Sequence[Script], entries: Sequence[Entry]) -> tuple[Disagreement, ...]:
    """Return each pending migration below an applied one."""
    known = {numbers(entry.version) for entry in entries}
    applied = [numbers(entry.version) for entry in entries if entry.finished]
    return tuple(
        Disagreement(
            "out-of-order",
            script.version,
            script.name,
            f"out of order, pending below an applied one: {script.label}",
            "give it a newer version, or apply it all the same: confiture run --allow-out-of-order",
            found=script.checksum,
        )
        for script in scripts
        if applied and numbers(script.version) not in known and numbers(script.version) < max(applied)
    )


def last_uses(history: Iterable[Record]) -> tuple[LastUse, ...]:
    """Return for each plugin where it took part last: what it was before that is past."""
    uses = {
        plugin.name: LastUse(plugin.name, plugin.version, record)
        for record in history
        for plugin in record.plugins
    }
    return tuple(uses[name] for name in sorted(uses))


def plugin_disagreements(
    uses: Iterable[LastUse], installed: Mapping[str, frozenset[str]]
) -> tuple[Disagreement, ...]:
    """Return each plugin that is gone, or installed in another version than the one that took part last."""
    return tuple(
        _of_plugin(use, installed.get(use.plugin, frozenset()))
        for use in uses
        if use.plugin_version not in installed.get(use.plugin, ())
    )


def _of_plugin(use: LastUse, installed: frozenset[str]) -> Disagreement:
    record = use.migration
    now = f"installed is {', '.join(sorted(installed))}" if installed else "it is not installed"
    return Disagreement(
        "plugin-changed" if installed else "plugin-missing",
        record.version,
        record.name,
        f"plugin {use.plugin} {use.plugin_version} took part in {_label(record.version, record.name)}; {now}",
        "install that version, or leave plugins out of it: confiture verify --no-plugins",
        plugin=use.plugin,
        recorded=use.plugin_version,
        found=", ".join(sorted(installed)) or None,
    )


def _installed() -> dict[str, frozenset[str]]:
    from confiture.plugins.find import find

    found = find()
    return {each.name: frozenset(one.version for one in found if one.name == each.name) for each in found}


def _label(version: str, name: str) -> str:
    return f"{version} {name}".rstrip()
