"""A PostgreSQL proxy on a Unix socket that counts what the client asks, and takes its time to pass it on."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path

_SIMPLE_QUERY = b"Q"
_SYNC = b"S"


class CountingProxy:
    """Stands between one client and a server.

    Attributes:
        folder: Of the socket it listens on, port 5432.
        messages: How often the client has asked and waited: simple queries and syncs.
    """

    def __init__(self, server: str, delay_s: float = 0.0) -> None:
        self.server = server
        self.delay_s = delay_s
        self.messages = 0
        self.folder = Path(tempfile.mkdtemp(prefix="proxy-"))
        self._listening = socket.socket(socket.AF_UNIX)
        self._open: list[socket.socket] = [self._listening]

    def __enter__(self) -> CountingProxy:
        """Begin to listen."""
        self._listening.bind(str(self.folder / ".s.PGSQL.5432"))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        for connection in self._open:
            connection.close()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.server)
            self._open += [client, server]
            threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        started, rest = not counted, b""
        try:
            while data := source.recv(65536):
                if counted:
                    # The first message has no type byte; nothing of it is a question.
                    started, rest = (True, self._count(rest + data)) if started else (True, b"")
                time.sleep(self.delay_s)
                target.sendall(data)
        except OSError:
            return

    def _count(self, data: bytes) -> bytes:
        """Count the whole messages in ``data`` and return what is left."""
        while len(data) >= 5 and len(data) > (length := int.from_bytes(data[1:5])):
            self.messages += data[:1] in (_SIMPLE_QUERY, _SYNC)
            data = data[length + 1 :]
        return data
