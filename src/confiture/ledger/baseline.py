"""Record migrations as applied without running them, for a database that already contains them."""

from __future__ import annotations

from collections.abc import Sequence

from confiture.config.settings import Settings
from confiture.exceptions import LedgerFault
from confiture.ledger.table import Ledger
from confiture.ledger.writer import open_ledger_writer
from confiture.migrations.folder import read_folder
from confiture.migrations.planner import determine_statuses, find_script
from confiture.migrations.version import parse_version
from confiture.models.ledger import Baseline, BaselineStep, LedgerEntry, LedgerRow
from confiture.models.migration import MigrationFile
from confiture.postgres.connect import open_connection


def record_baseline(settings: Settings, version: str, *, dry_run: bool = False) -> Baseline:
    """Record all migrations up to and including ``version`` as applied; with ``dry_run``, write nothing.

    Raises:
        UsageFault: There is no migration of this version.
        LedgerFault: The applied migrations contradict the baseline.
        LockFault: Another run holds the migration lock.
    """
    scripts = read_folder(settings.migrations)
    limit = parse_version(find_script(scripts, version).version)
    ledger = Ledger(settings.schema)
    if dry_run:
        with open_connection(settings) as conn:
            new = select_to_record(scripts, ledger.read(conn), limit)
    else:
        with open_ledger_writer(settings) as writer:
            new = select_to_record(scripts, writer.read_entries(), limit)
            if new:
                writer.write(" ".join(ledger.render_insert_sql(_make_row(script)) for script in new))
    return Baseline(dry_run, _make_steps(scripts, limit, new, dry_run))


def select_to_record(
    scripts: Sequence[MigrationFile], entries: Sequence[LedgerEntry], limit: tuple[int, ...]
) -> tuple[MigrationFile, ...]:
    """Return the migrations up to ``limit`` that are not in the ledger, in order.

    Raises:
        LedgerFault: A migration above ``limit`` is applied, or an applied one has changed, is missing or is
            unfinished.
    """
    recorded = {parse_version(entry.version) for entry in entries}
    lines = [
        f"{status.state}: {status.version} {status.name}".rstrip()
        for status in determine_statuses(scripts, entries)
        if status.state in ("changed", "missing", "unfinished")
    ]
    above = [entry for entry in entries if entry.finished and parse_version(entry.version) > limit]
    lines += [f"applied above it: {entry.version} {entry.name}".rstrip() for entry in above]
    if lines:
        raise LedgerFault(
            "cannot record a baseline: it contradicts the ledger\n  " + "\n  ".join(lines),
            hint="see what is wrong: confiture verify; and what to do about it: confiture repair",
        )
    return tuple(
        script
        for script in scripts
        if parse_version(script.version) <= limit and parse_version(script.version) not in recorded
    )


def _make_row(script: MigrationFile) -> LedgerRow:
    # A duration of 0 marks a baseline in the history: a migration that ran always took some time.
    return LedgerRow(script.version, script.name, script.checksum, 0.0, True, (), ())


def _make_steps(
    scripts: Sequence[MigrationFile], limit: tuple[int, ...], new: Sequence[MigrationFile], dry_run: bool
) -> tuple[BaselineStep, ...]:
    return tuple(
        BaselineStep(
            script.version,
            script.name,
            "applied" if script not in new else "would-record" if dry_run else "recorded",
        )
        for script in scripts
        if parse_version(script.version) <= limit
    )
