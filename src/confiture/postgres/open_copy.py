"""Find and end what other people's code has left open on a connection: a COPY, a streamed result, a pipeline.

Beside it, any query would wait for ever.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus


def has_open_copy(conn: Connection[Any]) -> bool:
    """Return True if a COPY, a streamed result or a pipeline is still open on ``conn``."""
    if conn.closed:
        return False
    piping = conn.pgconn.pipeline_status != PipelineStatus.OFF
    return piping or conn.lock.locked() or conn.info.transaction_status == TransactionStatus.ACTIVE


def end_copy(conn: Connection[Any]) -> None:
    """End an open COPY, so that its transaction fails and can be rolled back; close ``conn`` if that fails.

    A result that is still streamed holds psycopg's lock on the connection, and any call would wait for it
    forever. Then close the connection.
    """
    if conn.closed:
        return
    if conn.lock.locked() or conn.pgconn.pipeline_status != PipelineStatus.OFF:
        conn.close()
    elif conn.info.transaction_status == TransactionStatus.ACTIVE and conn.pgconn.is_busy():
        # No COPY but a query whose answer has not arrived, and may never: nothing would end the wait for it.
        conn.close()
    elif conn.info.transaction_status == TransactionStatus.ACTIVE:
        _drain(conn)


def _drain(conn: Connection[Any]) -> None:
    pgconn = conn.pgconn
    while (result := pgconn.get_result()) is not None:
        if result.status == ExecStatus.COPY_IN:
            pgconn.put_copy_end(b"left open")
        elif result.status == ExecStatus.COPY_OUT:
            conn.cancel_safe(timeout=5)
            _discard(conn)
        elif result.status == ExecStatus.COPY_BOTH:
            conn.close()
            return


def _discard(conn: Connection[Any]) -> None:
    while True:
        length, _ = conn.pgconn.get_copy_data(0)
        if length < 0:
            return
