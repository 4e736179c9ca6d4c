"""The transaction of one phase of a no-transaction migration; a generator hook ends it at each yield."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from attrs import define

from confiture.hooks.implementation import HookImplementation, HookMisuse

# As JSON writes it, behind an even number of backslashes.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@define
class CheckpointedTransaction:
    """One transaction after another, each with the progress that was made in it.

    Attributes:
        begin: Makes a transaction that commits where it is left well.
        resume: Returns what a hook yielded last before a crash.
        store: Keeps what a hook yielded, as JSON, in the transaction that is about to be committed.
        commit_count: How often a hook has committed.
    """

    begin: Callable[[], AbstractContextManager[None]]
    resume: Callable[[HookImplementation], Any]
    store: Callable[[HookImplementation, str], None]
    commit_count: int = 0
    _transaction: AbstractContextManager[None] | None = None

    def __enter__(self) -> CheckpointedTransaction:
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

    def encode_progress(self, progress: Any) -> str:
        """Return what a hook yielded as the ledger keeps it."""
        return encode_json(progress)

    def commit(self, ref: HookImplementation, stored: str) -> None:
        """Store what a hook yielded with what it has done since the last time, and begin again."""
        self.store(ref, stored)
        self.__exit__(None, None, None)
        self.commit_count += 1
        self.__enter__()


def encode_json(progress: Any) -> str:
    """Return what a hook yielded as JSON that PostgreSQL takes; what JSON does not know becomes text.

    Raises:
        Misuse: It cannot be written as JSON at all.
    """
    try:
        text = json.dumps(progress, default=str, allow_nan=False, ensure_ascii=False)
        text.encode()
        if _NUL.search(text):
            raise ValueError("PostgreSQL has no NUL character")
    except (TypeError, ValueError, RecursionError) as error:
        raise HookMisuse(f"it yielded what cannot be stored as JSON ({error})") from error
    return text
