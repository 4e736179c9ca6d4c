"""A PostgreSQL proxy on a Unix socket whose COMMITs are not answered, as when a network or a server hangs."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict


class SwallowingProxy:
    """Stands between clients and a server, and swallows what belongs to one COMMIT.

    The COMMIT is the next one on a connection on which ``marker`` was sent before. Its answer is swallowed;
    without ``passes_commit`` the server never gets it either. Without ``answers_others``, connections that
    begin afterwards are accepted and get no answer.

    Attributes:
        swallowed: Set once the COMMIT was seen.
    """

    def __init__(
        self, url: str, marker: bytes, *, passes_commit: bool = True, answers_others: bool = True
    ) -> None:
        known = conninfo_to_dict(url)
        self._server = f"{known['host']}/.s.PGSQL.{known.get('port') or 5432}"
        self._url = f"postgresql://{known['user']}@/{known['dbname']}"
        self._marker = marker
        self._passes_commit = passes_commit
        self._answers_others = answers_others
        self._folder = Path(tempfile.mkdtemp(prefix="proxy-"))
        self._listening = socket.socket(socket.AF_UNIX)
        self._open: list[socket.socket] = [self._listening]
        self.swallowed = threading.Event()

    @property
    def url(self) -> str:
        """The URL of the database through the proxy."""
        return f"{self._url}?host={quote(str(self._folder), safe='')}&port=5432"

    def __enter__(self) -> SwallowingProxy:
        """Begin to listen."""
        self._listening.bind(str(self._folder / ".s.PGSQL.5432"))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        """Close everything."""
        for connection in self._open:
            connection.close()
        shutil.rmtree(self._folder)

    def cut(self) -> None:
        """End every connection, those to the server included."""
        for connection in self._open[1:]:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._open += [client, server]
            silent = threading.Event()
            if self.swallowed.is_set() and not self._answers_others:
                silent.set()
            threading.Thread(target=self._pass_requests, args=(client, server, silent), daemon=True).start()
            threading.Thread(target=self._pass_answers, args=(server, client, silent), daemon=True).start()

    def _pass_requests(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        marked = False
        try:
            while data := client.recv(65536):
                marked = marked or self._marker in data
                if marked and b"COMMIT" in data and not self.swallowed.is_set():
                    silent.set()
                    if self._passes_commit:
                        server.sendall(data)
                    self.swallowed.set()
                else:
                    server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _pass_answers(self, server: socket.socket, client: socket.socket, silent: threading.Event) -> None:
        try:
            while data := server.recv(65536):
                if not silent.is_set():
                    client.sendall(data)
            # The end of the connection is the answer to a request to cancel.
            if not silent.is_set():
                client.shutdown(socket.SHUT_WR)
        except OSError:
            return
