"""Find out how far an interrupted run of an approved plan has come, from the events that it recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from attrs import evolve

from confiture.migrations.version import parse_version
from confiture.models.event import Event
from confiture.wizard.plan_file import ApprovedPlan


def drop_applied(
    approved: ApprovedPlan, events: Sequence[Event], checksums: Mapping[str, str | None], fingerprint: str
) -> ApprovedPlan:
    """Return what is left of a plan; the plan itself if the events do not prove that nothing else has run.

    They prove it if they begin with the schema that the plan is for, name its migrations in its order and
    none else, and end with the schema that is there now.

    Args:
        approved: The plan.
        events: All events of the database, oldest first.
        checksums: The checksums in the ledger, by version.
        fingerprint: The fingerprint of the schema that is there now.
    """
    for since in _list_ends(approved, events):
        applied = [parse_version(event.version) for event in since if event.kind == "APPLIED"]
        done, left = approved.migrations[: len(applied)], approved.migrations[len(applied) :]
        if (
            left
            and applied == [parse_version(migration.version) for migration in done]
            and all(checksums.get(migration.version) == migration.checksum for migration in done)
            and since[0].schema_before == approved.fingerprint
            and since[-1].schema_after == fingerprint
        ):
            return evolve(approved, migrations=left, fingerprint=fingerprint)
    return approved


def _list_ends(approved: ApprovedPlan, events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Yield the last events, ever more of them, as long as only the plan has changed the schema."""
    versions = {parse_version(migration.version) for migration in approved.migrations}
    for start in range(len(events) - 1, -1, -1):
        event = events[start]
        if event.direction == "backward" or parse_version(event.version) not in versions:
            return
        if any(first.schema_after != then.schema_before for first, then in pairwise(events[start:])):
            return
        yield events[start:]
