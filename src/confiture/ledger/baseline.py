"""Record migrations as applied that are in the database already, without running them."""

from __future__ import annotations

from collections.abc import Sequence

from confiture.config.settings import Settings
from confiture.exceptions import LedgerFault
from confiture.ledger.table import Ledger
from confiture.ledger.writer import recorder
from confiture.migrations.folder import read_folder
from confiture.migrations.planner import find, statuses
from confiture.migrations.version import numbers
from confiture.models.ledger import Baseline, BaselineStep, Entry, Row
from confiture.models.migration import Script
from confiture.postgres.connect import connected


def baseline(settings: Settings, version: str, *, dry_run: bool = False) -> Baseline:
    """Record everything up to and including ``version`` as applied; with ``dry_run`` only say what would be.

    Raises:
        UsageFault: There is no migration of this version.
        LedgerFault: What is applied already does not fit.
        LockFault: Another run holds the migration lock.
    """
    scripts = read_folder(settings.migrations)
    limit = numbers(find(scripts, version).version)
    ledger = Ledger(settings.schema)
    if dry_run:
        with connected(settings) as conn:
            new = to_record(scripts, ledger.read(conn), limit)
    else:
        with recorder(settings) as recording:
            new = to_record(scripts, recording.entries(), limit)
            if new:
                recording.write(" ".join(ledger.insert_sql(_row(script)) for script in new))
    return Baseline(dry_run, _steps(scripts, limit, new, dry_run))


def to_record(
    scripts: Sequence[Script], entries: Sequence[Entry], limit: tuple[int, ...]
) -> tuple[Script, ...]:
    """Return the migrations up to ``limit`` that the ledger lacks, in order.

    Raises:
        LedgerFault: Something above is applied, or something applied is changed, missing or unfinished.
    """
    known = {numbers(entry.version) for entry in entries}
    lines = [
        f"{each.state}: {each.version} {each.name}".rstrip()
        for each in statuses(scripts, entries)
        if each.state in ("changed", "missing", "unfinished")
    ]
    above = [entry for entry in entries if entry.finished and numbers(entry.version) > limit]
    lines += [f"applied above it: {entry.version} {entry.name}".rstrip() for entry in above]
    if lines:
        raise LedgerFault(
            "a baseline is for what confiture has not applied, and the ledger says otherwise\n  "
            + "\n  ".join(lines),
            hint="look: confiture verify; and confiture repair shows the way on",
        )
    return tuple(
        script
        for script in scripts
        if numbers(script.version) <= limit and numbers(script.version) not in known
    )


def _row(script: Script) -> Row:
    # It was not run: it took no time, and that is how the history knows it.
    return Row(script.version, script.name, script.checksum, 0.0, True, (), ())


def _steps(
    scripts: Sequence[Script], limit: tuple[int, ...], new: Sequence[Script], dry_run: bool
) -> tuple[BaselineStep, ...]:
    return tuple(
        BaselineStep(
            script.version,
            script.name,
            "applied" if script not in new else "would-record" if dry_run else "recorded",
        )
        for script in scripts
        if numbers(script.version) <= limit
    )
