"""Servers to be turned away by: one that asks for a password, one that is too old, none at all."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from confiture.server import Server, open_temporary_server

PASSWORD = "s3cret pá:ss@w/or?d"
"""One that has to be percent-encoded in a URL."""

_SSL_REQUEST, _GSSENC_REQUEST = 80877103, 80877104


@contextmanager
def asking_for_a_password() -> Iterator[str]:
    """Lend the conninfo, without the password, of a role ``jam`` that needs one: ``PASSWORD``."""
    with open_temporary_server(Path(tempfile.gettempdir())) as server:
        with psycopg.connect(server.conninfo("app"), autocommit=True) as conn:
            conn.execute(sql.SQL("CREATE ROLE jam LOGIN SUPERUSER PASSWORD {}").format(PASSWORD))
            (hba,) = conn.execute("SHOW hba_file").fetchone() or ("",)
            rules = Path(hba).read_text()
            Path(hba).write_text(f"local all jam scram-sha-256\n{rules}")
            conn.execute("SELECT pg_reload_conf()")
            _await_the_rule(server)
        yield f"host={server.socket} port=5432 dbname=app user=jam"


def _await_the_rule(server: Server) -> None:
    for _ in range(1000):
        try:
            psycopg.connect(f"host={server.socket} port=5432 dbname=app user=jam").close()
        except psycopg.OperationalError:
            return
    raise AssertionError("the server never asked for a password")


def with_password(conninfo: str, password: str) -> str:
    """Return a URL with ``password`` in it, percent-encoded."""
    known = psycopg.conninfo.conninfo_to_dict(conninfo)
    userinfo = f"{known['user']}:{quote(password, safe='')}"
    where = f"host={quote(str(known['host']), safe='')}&port={known['port']}"
    return f"postgresql://{userinfo}@/{known['dbname']}?{where}"


@contextmanager
def nobody() -> Iterator[int]:
    """Lend a port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def announcing(version: str) -> Iterator[str]:
    """Lend the URL of what says that it is a server of ``version``, and knows no more than to say so.

    The oldest server that can be installed here is newer than what this stands for.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_welcome_all, args=(listening, version), daemon=True)
        thread.start()
        yield f"postgresql://me@127.0.0.1:{listening.getsockname()[1]}/x"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def _welcome_all(listening: socket.socket, version: str) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        with client:
            _welcome(client, version)


def _welcome(client: socket.socket, version: str) -> None:
    while _startup_code(client) in (_SSL_REQUEST, _GSSENC_REQUEST):
        client.sendall(b"N")
    told = {"server_version": version, "client_encoding": "UTF8", "server_encoding": "UTF8"}
    client.sendall(
        _message(b"R", struct.pack("!i", 0))
        + b"".join(_message(b"S", f"{name}\0{value}\0".encode()) for name, value in told.items())
        + _message(b"K", struct.pack("!ii", 1, 1))
        + _message(b"Z", b"I")
    )
    client.recv(1024)


def _startup_code(client: socket.socket) -> int:
    (length,) = struct.unpack("!i", client.recv(4, socket.MSG_WAITALL))
    (code,) = struct.unpack("!i", client.recv(length - 4, socket.MSG_WAITALL)[:4])
    return int(code)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body
