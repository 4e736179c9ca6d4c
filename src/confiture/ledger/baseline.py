"""Record migrations as applied without running them, for a database that already contains them."""

from __future__ import annotations

from collections.abc import Sequence

from confiture.config.settings import Settings
from confiture.exceptions import LedgerFault
from confiture.ledger.table import Ledger
from confiture.ledger.writer import open_ledger_writer
from confiture.migrations.planner import determine_statuses, find_script
from confiture.migrations.version import parse_version
from confiture.models.ledger import Baseline, BaselineStep, LedgerEntry, LedgerRow
from confiture.models.migration import MigrationFile
from confiture.sources.read_migrations import open_migrations, read_first


def record_baseline(settings: Settings, version: str, *, dry_run: bool = False) -> Baseline:
    """Record all migrations up to and including ``version`` as applied; with ``dry_run``, write nothing.

    Raises:
        UsageFault: There is no migration of this version.
        LedgerFault: The applied migrations contradict the baseline.
        LockFault: Another run holds the migration lock.
    """
    if dry_run:
        with open_migrations(settings) as opened:
            entries = Ledger(settings.schema).read(opened.conn)
            scripts, covered = opened.migrations, select_covered(opened.migrations, version)
            new = select_to_record(scripts, entries, covered)
    else:
        first = read_first(settings)
        with open_ledger_writer(settings) as writer:
            scripts = first.settle(writer.conn).migrations
            covered = select_covered(scripts, version)
            new = select_to_record(scripts, writer.read_entries(), covered)
            if new:
                writer.write(" ".join(writer.ledger.render_insert_sql(_make_row(script)) for script in new))
    return Baseline(dry_run, _make_steps(covered, new, dry_run))


def select_covered(scripts: Sequence[MigrationFile], version: str) -> tuple[MigrationFile, ...]:
    """Return the migrations up to and including ``version``, in order.

    Raises:
        UsageFault: There is no migration of this version.
    """
    return tuple(scripts[: scripts.index(find_script(scripts, version)) + 1])


def select_to_record(
    scripts: Sequence[MigrationFile], entries: Sequence[LedgerEntry], covered: Sequence[MigrationFile]
) -> tuple[MigrationFile, ...]:
    """Return those of the ``covered`` migrations that are not in the ledger, in order.

    Raises:
        LedgerFault: A migration after these is applied, or an applied one has changed, is missing or is
            unfinished.
    """
    within = {parse_version(script.version) for script in covered}
    recorded = {parse_version(entry.version) for entry in entries}
    lines = [
        f"{status.state}: {status.version} {status.name}".rstrip()
        for status in determine_statuses(scripts, entries)
        if status.state in ("changed", "missing", "unfinished")
    ]
    above = [entry for entry in entries if entry.finished and parse_version(entry.version) not in within]
    files = {parse_version(script.version) for script in scripts}
    above = [entry for entry in above if parse_version(entry.version) in files]
    lines += [f"applied above it: {entry.version} {entry.name}".rstrip() for entry in above]
    if lines:
        raise LedgerFault(
            "cannot record a baseline: it contradicts the ledger\n  " + "\n  ".join(lines),
            hint="see what is wrong: confiture verify; and what to do about it: confiture repair",
        )
    return tuple(script for script in covered if parse_version(script.version) not in recorded)


def _make_row(script: MigrationFile) -> LedgerRow:
    # A duration of 0 marks a baseline in the history: a migration that ran always took some time.
    return LedgerRow(script.version, script.name, script.checksum, 0.0, True, (), ())


def _make_steps(
    covered: Sequence[MigrationFile], new: Sequence[MigrationFile], dry_run: bool
) -> tuple[BaselineStep, ...]:
    return tuple(
        BaselineStep(
            script.version,
            script.name,
            "applied" if script not in new else "would-record" if dry_run else "recorded",
        )
        for script in covered
    )
