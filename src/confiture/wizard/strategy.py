"""Recommend how to run a migration, from what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from confiture.models.report import Finding, MigrationReport
from confiture.output.format import join_names
from confiture.wizard.card import RunStrategy
from confiture.wizard.risk import find_unseen

_NO_TRANSACTION = "-- confiture: no-transaction"


def recommend_strategy(
    migration: MigrationReport,
    findings: Sequence[Finding],
    sessions: Sequence[str],
    lock_timeout: str,
    retries: int,
) -> RunStrategy:
    """Return the recommended way to run a migration.

    Args:
        migration: What the rehearsal reported.
        findings: What the gate found, ignored findings left out.
        sessions: The sessions that now hold what the migration needs.
        lock_timeout: How long a statement waits for a lock, as configured.
        retries: How often a migration is tried again after that.
    """
    with_files = [finding for finding in findings if finding.files and finding.severity == "error"]
    if with_files:
        return _recommend_files(with_files[0], len(with_files) - 1)
    if migration.long_blocks:
        names = join_names(migration.long_blocks)
        return RunStrategy(
            "quiet-window",
            f"wait for a quiet window: {names} stays blocked while the work lasts, and there is no other way",
            sessions=tuple(sessions),
        )
    advised = next((finding for finding in findings if finding.files), None)
    if advised:
        return _recommend_files(advised, 0)
    if unseen := find_unseen(migration):
        return RunStrategy("run", f"run now: no rule objects to its text, but it was not measured: {unseen}")
    if migration.blocks.reads or migration.blocks.writes:
        again = "1 retry" if retries == 1 else f"{retries} retries"
        wait = f"run now, with a lock_timeout of {lock_timeout} and {again}"
        if sessions:
            return RunStrategy("run-with-timeout", f"{wait}; in the way now:", sessions=tuple(sessions))
        return RunStrategy("run-with-timeout", f"{wait}: the locks are brief once they are granted")
    return RunStrategy("run", "run now: it blocks nobody")


def _recommend_files(finding: Finding, others: int) -> RunStrategy:
    """Return the strategy of one finding; ``others`` is how many more of the migration have files."""
    files = finding.files
    outside = [file for file in files if _NO_TRANSACTION in file.directives]
    if len(files) == 1 and outside:
        return RunStrategy("build-concurrently", "mark it no-transaction and build concurrently", files)
    advice = f"split it into {len(files)} migrations"
    if finding.rule == "rename-column":
        advice += "; run the last one when the application uses the new name only"
    if others:
        advice += "; its other parts get their own cards"
    return RunStrategy("split", advice, files)
