"""Define what a fleet consists of, and what becomes of each of its targets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

from attrs import Factory, field, frozen

from confiture.config.settings import mask_password

TargetState = Literal["waiting", "running", "done", "unchanged", "failed"]
_LONGEST_NAME_BYTES = 63


@frozen
class Target:
    """A database of a fleet, or a schema of one.

    Attributes:
        name: A name that no other target has.
        url: Its database; variables such as ``${PASSWORD}`` are expanded where it is used.
        schema: The schema of a tenant, which search_path names; ``None`` for the whole database.
        tags: What it is, by the name of each tag.
    """

    name: str
    url: str = field(repr=mask_password)
    schema: str | None = None
    tags: Mapping[str, str] = Factory(dict)

    @property
    def ledger_schema(self) -> str | None:
        """The schema of a tenant's own ledger; ``None`` for that of the settings."""
        if self.schema is None:
            return None
        name = f"confiture_{self.schema}"
        if len(name.encode()) <= _LONGEST_NAME_BYTES:
            return name
        return f"confiture_{hashlib.sha256(self.schema.encode()).hexdigest()[:40]}"


@frozen
class TargetOutcome:
    """What a run did to one target.

    Attributes:
        name: The target's name.
        state: ``done`` if something was applied, ``unchanged`` if there was nothing to do, or ``failed``.
        applied: The versions that were applied.
        error: Why it failed, in one line; ``None`` if it did not.
        exit_code: What ``confiture run`` would have exited with.
        duration_ms: How long it took.
    """

    name: str
    state: TargetState
    applied: tuple[str, ...] = ()
    error: str | None = None
    exit_code: int = 0
    duration_ms: float = 0.0
