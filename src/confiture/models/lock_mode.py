"""PostgreSQL's table-level lock modes, in order of strength."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from enum import IntEnum
from typing import Any, TypeVar

AnyLock = TypeVar("AnyLock")
Target = TypeVar("Target", bound=Hashable)


class LockMode(IntEnum):
    """A lock mode, named as ``pg_locks`` names it; a stronger one compares as greater.

    The order is that of PostgreSQL's ``lockdefs.h``. It is not a strict order of conflicts:
    ShareUpdateExclusive and Share conflict with different modes.
    """

    AccessShareLock = 1
    RowShareLock = 2
    RowExclusiveLock = 3
    ShareUpdateExclusiveLock = 4
    ShareLock = 5
    ShareRowExclusiveLock = 6
    ExclusiveLock = 7
    AccessExclusiveLock = 8


STRONG_MODES = tuple(mode.name for mode in LockMode if mode >= LockMode.ShareLock)
"""The names of the modes that reports list, weakest first: Share blocks writes."""


def keep_strongest(
    locks: Iterable[AnyLock], *, target_of: Callable[[AnyLock], Target], strength_of: Callable[[AnyLock], Any]
) -> dict[Target, AnyLock]:
    """Return the strongest lock per target; of equally strong locks, the first."""
    strongest: dict[Target, AnyLock] = {}
    for lock in locks:
        target = target_of(lock)
        if target not in strongest or strength_of(lock) > strength_of(strongest[target]):
            strongest[target] = lock
    return strongest
