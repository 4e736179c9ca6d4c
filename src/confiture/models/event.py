"""Values that describe what happened to a database: events, and the whole history."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from confiture.models.ledger import HistoryRecord, HookRecord, PluginRecord
from confiture.models.migration import Direction

UNREAD = (
    "others of its run followed at once, or an application committed it, or the run was killed or could not "
    "read the schema"
)

EventKind = Literal["APPLIED", "REVERTED", "FAILED"]


@frozen
class EventHook(HookRecord):
    """A hook that ran in a migration, and how it ended.

    Attributes:
        outcome: ``kept`` or ``undone``.
        duration_ms: How long it took, in milliseconds.
    """

    outcome: str = "kept"
    duration_ms: float | None = None


@frozen
class EventLock:
    """A lock on a relation that existed before the migration, in Share mode or stronger.

    Attributes:
        relation: Schema-qualified.
        mode: PostgreSQL's name of the mode.
        blocks: The access of other sessions that it blocks: ``"reads"``, ``"writes"``, both or none.
        held_ms: How long it was held at most, in milliseconds: from the last time that it was seen not held
            until the commit was sent; ``None`` if that was not measured.
    """

    relation: str
    mode: str
    blocks: tuple[str, ...] = ()
    held_ms: float | None = None


@frozen
class EventError:
    """Why a migration failed."""

    message: str
    sqlstate: str | None = None
    phase: str | None = None
    hook: str | None = None
    line: int | None = None


@frozen
class Event:
    """One migration that was applied, was reverted or failed.

    Attributes:
        number: Counts the events of this database; gaps are possible.
        kind: What happened.
        version: The version of the migration, as written.
        name: Its name.
        direction: ``backward`` if its ``down`` ran.
        at: When it ended, in ISO 8601 with time zone.
        by: The role that ran it.
        duration_ms: How long it took, in milliseconds.
        transactional: False for a no-transaction migration.
        plugins: The plugins in use.
        hooks: The hooks that ran, in order.
        locks: What it locked.
        git_revision: The commit that was checked out; ``None`` if that is not known.
        server_version: The version of the server, ``"18.1"``.
        schema_before: The fingerprint of the schema before it; ``None`` if it was not read.
        schema_after: The fingerprint after it; ``None`` likewise, and ``schema_unread`` says why.
        error: Why it failed; ``None`` if it did not.
    """

    number: int
    kind: EventKind
    version: str
    name: str
    direction: Direction
    at: str
    by: str
    duration_ms: float
    transactional: bool
    plugins: tuple[PluginRecord, ...] = ()
    hooks: tuple[EventHook, ...] = ()
    locks: tuple[EventLock, ...] = ()
    git_revision: str | None = None
    server_version: str | None = None
    schema_before: str | None = None
    schema_after: str | None = None
    error: EventError | None = None

    @property
    def label(self) -> str:
        """Version and name."""
        return f"{self.version} {self.name}".rstrip()

    @property
    def schema_unread(self) -> str | None:
        """Why the schema after it is not known; ``None`` if it is."""
        return UNREAD if self.schema_after is None else None


@frozen
class NewEvent:
    """What is to be recorded of a migration that has just ended.

    Attributes:
        kind: What happened.
        hooks: The hooks that ran, in order.
        locks: What it locked, as far as that is known.
        error: Why it failed; ``None`` if it did not.
    """

    kind: EventKind
    version: str
    name: str
    direction: Direction
    duration_ms: float
    transactional: bool
    hooks: tuple[EventHook, ...] = ()
    locks: tuple[EventLock, ...] = ()
    error: EventError | None = None


@frozen
class History:
    """What the ledger and the events say of a database.

    Attributes:
        migrations: The applied migrations, newest last.
        events: Everything that happened since events are recorded, oldest first.
    """

    migrations: tuple[HistoryRecord, ...] = ()
    events: tuple[Event, ...] = ()
