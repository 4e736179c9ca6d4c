"""Classify the statements of a plan in a thread, while the rehearsal's own one waits for the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confiture.migrations.prepare import PreparedMigration
from confiture.sql.statement_kind import classify_statement


@contextmanager
def classify_ahead(works: Sequence[PreparedMigration]) -> Iterator[None]:
    """Fill the cache of ``classify_statement`` in the order of the plan, until the block ends."""
    stopped = threading.Event()

    def classify() -> None:
        for work in works:
            for statement in work.script.statements if work.script else ():
                if stopped.is_set():
                    return
                classify_statement(statement.sql)

    thread = threading.Thread(target=classify, name="confiture-classifying", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
