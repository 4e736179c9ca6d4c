"""The transaction of one phase of a no-transaction migration; a generator hook ends it at each yield."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from attrs import define, field

from confiture.core.savepoint import HookRef, Misuse
from confiture.core.session import rows, send
from confiture.core.walk import Engine
from confiture.core.work import Work

# The ledger is the runner's: whatever role the migration has taken must not write it. Ours is the one
# that the session began with, which ALTER ROLE … SET role may have made another than the user.
AS_OURSELVES = "SET LOCAL role TO DEFAULT;"


@define
class Stretches:
    """One transaction after another, each with the progress that was made in it.

    Attributes:
        begin: Makes a transaction that commits where it is left well.
        engine: Where they run, and the ledger that keeps the progress.
        work: Whose hooks they are.
    """

    begin: Callable[[], AbstractContextManager[None]]
    engine: Engine
    work: Work
    _transaction: AbstractContextManager[None] | None = None
    _resumes: dict[tuple[str, ...], Any] = field(factory=dict)

    def __enter__(self) -> Stretches:
        """Begin the first."""
        found = rows(self.engine.session.conn, self.engine.ledger.resume_sql(self.work))
        self._resumes = {tuple(key): progress for *key, progress in found}
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit the last, or roll it back."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.__exit__(kind, error, trace)

    def resume(self, ref: HookRef) -> Any:
        """Return what this hook yielded last before a crash."""
        return self._resumes.get(_key(ref))

    def commit(self, ref: HookRef, progress: Any) -> None:
        """Store what a hook yielded, with what it has done since the last time."""
        try:
            stored = json.dumps(progress, default=str)
        except (TypeError, ValueError) as error:
            raise Misuse(f"it yielded what cannot be stored as JSON ({error})") from error
        sql = self.engine.ledger.yielded_sql(self.work, _key(ref), stored)
        send(self.engine.session.conn, f"{AS_OURSELVES} {sql}")
        self.__exit__(None, None, None)
        self._enter()

    def _enter(self) -> None:
        self._transaction = self.begin()
        self._transaction.__enter__()


def _key(ref: HookRef) -> tuple[str, str, str]:
    return ref.phase.spec, ref.plugin or "", ref.name
