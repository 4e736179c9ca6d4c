"""End a COPY that somebody left open; every query sent beside it would wait for ever."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus


def left_open(conn: Connection[Any]) -> bool:
    """Whether a COPY, a result or a pipeline is still open on ``conn``."""
    if conn.closed:
        return False
    piping = conn.pgconn.pipeline_status != PipelineStatus.OFF
    return piping or conn.lock.locked() or conn.info.transaction_status == TransactionStatus.ACTIVE


def end_copy(conn: Connection[Any]) -> None:
    """Leave ``conn`` with a status that can be asked for: in error after a COPY, closed where that fails.

    A result still being streamed holds psycopg's own lock on the connection: nothing but closing helps.
    """
    if conn.closed:
        return
    if conn.lock.locked() or conn.pgconn.pipeline_status != PipelineStatus.OFF:
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
