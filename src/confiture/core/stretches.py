"""The transaction of one phase of a no-transaction migration; a generator hook ends it at each yield."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from attrs import define

from confiture.core.savepoint import HookRef, Misuse


@define
class Stretches:
    """One transaction after another, each with the progress that was made in it.

    Attributes:
        begin: Makes a transaction that commits where it is left well.
        resume: Returns what a hook yielded last before a crash.
        store: Keeps what a hook yielded, as JSON, in the transaction that is about to be committed.
        commits: How often a hook has committed.
    """

    begin: Callable[[], AbstractContextManager[None]]
    resume: Callable[[HookRef], Any]
    store: Callable[[HookRef, str], None]
    commits: int = 0
    _transaction: AbstractContextManager[None] | None = None

    def __enter__(self) -> Stretches:
        """Begin the first."""
        self._transaction = self.begin()
        self._transaction.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit the last, or roll it back."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.__exit__(kind, error, trace)

    def stored(self, progress: Any) -> str:
        """Return what a hook yielded as JSON; what JSON does not know becomes text.

        Raises:
            Misuse: It cannot be written as JSON at all.
        """
        try:
            return json.dumps(progress, default=str)
        except (TypeError, ValueError) as error:
            raise Misuse(f"it yielded what cannot be stored as JSON ({error})") from error

    def commit(self, ref: HookRef, stored: str) -> None:
        """Store what a hook yielded with what it has done since the last time, and begin again."""
        self.store(ref, stored)
        self.__exit__(None, None, None)
        self.commits += 1
        self.__enter__()
