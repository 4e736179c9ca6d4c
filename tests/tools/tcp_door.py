"""A TCP door to a server that listens only on a Unix socket, for tools that know no other address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from psycopg.conninfo import conninfo_to_dict


@contextmanager
def open_tcp_door(url: str) -> Iterator[tuple[str, int]]:
    """Yield the host and the port at which the server of ``url`` answers."""
    known = conninfo_to_dict(url)
    host, port = str(known.get("host") or "localhost"), int(known.get("port") or 5432)
    if not host.startswith("/"):
        yield host, port
        return
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(16) as pool:
        pool.submit(_accept, pool, listening, f"{host}/.s.PGSQL.{port}")
        try:
            yield "127.0.0.1", listening.getsockname()[1]
        finally:
            # To close it would not wake the thread that accepts.
            listening.shutdown(socket.SHUT_RDWR)


def _accept(pool: ThreadPoolExecutor, listening: socket.socket, target: str) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(target)
        for source, sink in ((server, client), (client, server)):
            pool.submit(_pass_on, source, sink).add_done_callback(partial(_close, client, server))


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        return


def _close(client: socket.socket, server: socket.socket, _: Future[None]) -> None:
    """Close both ends once one direction has ended, which ends the other one."""
    for end in (client, server):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
        finally:
            end.close()
