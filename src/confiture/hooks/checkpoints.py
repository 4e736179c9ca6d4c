"""The transactions of one phase of a no-transaction migration: a generator hook commits at each yield."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from attrs import define

from confiture.hooks.implementation import HookImplementation, HookMisuse

# How JSON writes a NUL character, which jsonb refuses: behind an even number of other backslashes. Behind
# an odd number the backslash itself is escaped, and `u0000` is plain text.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@define
class CheckpointedTransaction:
    """A series of transactions; each commits a hook's rows together with its progress.

    Attributes:
        begin: Opens a transaction that commits unless its block raises.
        resume: Returns the last value that a hook yielded before a crash.
        store: Writes a yielded value, as JSON, in the transaction that is about to be committed.
        commit_count: How often a hook has committed.
    """

    begin: Callable[[], AbstractContextManager[None]]
    resume: Callable[[HookImplementation], Any]
    store: Callable[[HookImplementation, str], None]
    commit_count: int = 0
    _transaction: AbstractContextManager[None] | None = None

    def __enter__(self) -> CheckpointedTransaction:
        """Begin the first transaction."""
        self._transaction = self.begin()
        self._transaction.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit the last transaction, or roll it back after an error."""
        # Forgotten before it ends: if the commit fails, the outer `with` must not end it a second time.
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.__exit__(kind, error, trace)

    def encode_progress(self, progress: Any) -> str:
        """Return a yielded value as the ledger stores it."""
        return encode_json(progress)

    def commit(self, ref: HookImplementation, stored: str) -> None:
        """Commit a hook's rows together with its progress, and begin the next transaction."""
        # In the same transaction as the rows: after a crash the hook resumes exactly where they end.
        self.store(ref, stored)
        self.__exit__(None, None, None)
        self.commit_count += 1
        self.__enter__()


def encode_json(progress: Any) -> str:
    """Return a yielded value as JSON that PostgreSQL accepts; types unknown to JSON become text.

    Raises:
        HookMisuse: The value cannot be written as JSON.
    """
    try:
        text = json.dumps(progress, default=str, allow_nan=False, ensure_ascii=False)
        text.encode()  # a lone surrogate is a Python string but no UTF-8
        if _NUL.search(text):
            raise ValueError("PostgreSQL has no NUL character")
    except (TypeError, ValueError, RecursionError) as error:
        raise HookMisuse(f"it yielded a value that cannot be stored as JSON ({error})") from error
    return text
