"""Values that describe the history of one or more databases for people to look at."""

from __future__ import annotations

from attrs import frozen

from confiture.models.event import Event
from confiture.models.fleet import RunRecord
from confiture.models.ledger import HistoryRecord
from confiture.models.schema import ObjectDifference


@frozen
class PredictionPair:
    """A predicted and a real time of one statement.

    Attributes:
        version: The migration's version.
        line: The line of the statement; ``None`` if it is not known.
        p50_ms: The prediction, in milliseconds.
        low_ms: The lower end of its 90 % interval.
        high_ms: The upper end.
        actual_ms: The real time.
    """

    version: str
    line: int | None
    p50_ms: float
    low_ms: float
    high_ms: float
    actual_ms: float

    @property
    def inside(self) -> bool:
        """True if the real time is within the interval."""
        return self.low_ms <= self.actual_ms <= self.high_ms


@frozen
class ObjectVersions:
    """How often an object of the schema has changed.

    Attributes:
        kind: The kind of object.
        identity: Its name.
        versions: How many versions of it the runs recorded.
        last_event: The number of the event that changed it last; 0 for before the first one.
    """

    kind: str
    identity: str
    versions: int
    last_event: int


@frozen
class DatabaseView:
    """What the dashboard shows of one database.

    Attributes:
        name: What the database is called.
        fault: Why it could not be read; ``None`` if it could.
        server_version: The server's version.
        migrations: The applied migrations, newest last.
        events: All that happened, oldest first.
        pending: The versions that are not applied yet; ``None`` if the files could not be read.
        changed: The versions whose files changed or are missing.
        drift: The objects that differ from what the last run recorded; ``None`` if nothing is recorded.
        unread: The last migration, if the schema was not read after it: the drift is not known then.
        objects: The objects that the runs changed, the most often changed first.
        predictions: Predicted and real times.
        block_limit_ms: The longest that a table may be blocked, as the gate has it; ``None`` for no limit.
        block_limit: The same as it is written.
    """

    name: str
    fault: str | None = None
    server_version: str | None = None
    migrations: tuple[HistoryRecord, ...] = ()
    events: tuple[Event, ...] = ()
    pending: tuple[str, ...] | None = None
    changed: tuple[str, ...] = ()
    drift: tuple[ObjectDifference, ...] | None = None
    unread: str | None = None
    objects: tuple[ObjectVersions, ...] = ()
    predictions: tuple[PredictionPair, ...] = ()
    block_limit_ms: float | None = None
    block_limit: str | None = None


@frozen
class Dashboard:
    """The history of one or more databases.

    Attributes:
        made_at: When it was read, in ISO 8601.
        databases: One view each, in the order in which they were named.
        fleet: The last run of a fleet; ``None`` if none is recorded.
    """

    made_at: str
    databases: tuple[DatabaseView, ...]
    fleet: RunRecord | None = None
