"""Hold the work that waits, by host, so that no host gets more than its share at a time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator

from attrs import define, field, frozen

from confiture.fleet.target import Target

# More ledgers in one query would need more locks than a server has by default: four a tenant.
_SURVEYED_TARGETS = 100


@frozen
class TargetBatch:
    """Targets of one database that one task is about.

    Attributes:
        host: The server that they are on.
        targets: One target to migrate; or several, whose ledgers are read first.
    """

    host: str
    targets: tuple[Target, ...]

    @property
    def is_survey(self) -> bool:
        """True if the ledgers are read first, to find those with nothing to do."""
        return len(self.targets) > 1


@define
class WorkQueue:
    """The batches that wait.

    Attributes:
        most_per_host: How many batches of one host may run at the same time.
    """

    most_per_host: int
    _waiting: dict[str, deque[TargetBatch]] = field(factory=dict)
    _running: Counter[str] = field(factory=Counter)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, batch: TargetBatch) -> None:
        """Add a batch behind those of its host."""
        self._waiting.setdefault(batch.host, deque()).append(batch)

    def take(self) -> TargetBatch | None:
        """Return the next batch, of a host that has room; ``None`` if none has."""
        for host, batches in self._waiting.items():
            if self._running[host] < self.most_per_host:
                batch = batches.popleft()
                # The host goes to the end, so that all hosts have their turn.
                del self._waiting[host]
                if batches:
                    self._waiting[host] = batches
                self._running[host] += 1
                return batch
        return None

    def end(self, batch: TargetBatch) -> None:
        """Make room on the host of a batch that has ended."""
        self._running[batch.host] -= 1


def build_batches(targets: Iterable[Target]) -> Iterator[TargetBatch]:
    """Yield the batches of a wave: tenant schemas of one database together, databases one by one."""
    by_url: dict[str, list[Target]] = {}
    for target in targets:
        if target.schema is None:
            yield TargetBatch(target.host, (target,))
        else:
            by_url.setdefault(target.url, []).append(target)
    for tenants in by_url.values():
        for begin in range(0, len(tenants), _SURVEYED_TARGETS):
            yield TargetBatch(tenants[0].host, tuple(tenants[begin : begin + _SURVEYED_TARGETS]))
