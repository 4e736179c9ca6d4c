"""Read the statements of a plan in a thread, while the rehearsal's own one waits for the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confiture.migrations.prepare import PreparedMigration
from confiture.sql.lock_modes import find_expected_locks
from confiture.sql.statement_kind import classify_statement


@contextmanager
def read_ahead(works: Sequence[PreparedMigration]) -> Iterator[None]:
    """Find what each statement is and locks, in the order of the plan, until the block ends."""
    stopped = threading.Event()

    def read() -> None:
        for work in works:
            for statement in work.script.statements if work.script else ():
                if stopped.is_set():
                    return
                # For their caches: asked again by the rehearsal, both answer at once.
                classify_statement(statement.sql)
                find_expected_locks(statement.sql)

    thread = threading.Thread(target=read, name="confiture-reading", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
