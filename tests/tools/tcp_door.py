"""A TCP door to a server that listens only on a Unix socket, for tools that know no other address."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import conninfo_to_dict


@contextmanager
def open_tcp_door(url: str) -> Iterator[tuple[str, int]]:
    """Yield the host and the port at which the server of ``url`` answers."""
    known = conninfo_to_dict(url)
    host, port = str(known.get("host") or "localhost"), int(known.get("port") or 5432)
    if not host.startswith("/"):
        yield host, port
        return
    with socket.create_server(("127.0.0.1", 0)) as listening:
        target = f"{host}/.s.PGSQL.{port}"
        threading.Thread(target=_accept, args=(listening, target), daemon=True).start()
        yield "127.0.0.1", listening.getsockname()[1]


def _accept(listening: socket.socket, target: str) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(target)
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return
