"""Open connections, and explain why one cannot be opened."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar, cast

import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from confiture.config.settings import Settings
from confiture.exceptions import ConnectionFault
from confiture.postgres.database_url import URL_HINT, check_url
from confiture.postgres.session import fetch_rows
from confiture.postgres.signals import give_up
from confiture.postgres.wait_notice import announce_wait

T = TypeVar("T")
OLDEST_SUPPORTED = 14
# A pooler with one connection keeps the second client waiting, by default for minutes.
_PATIENCE_S = 10.0
# A machine that vanishes is noticed after a minute. The system's own default is two hours.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
# libpq reports these after the server has answered: waiting longer does not help.
_HAS_STARTED = ("password", "authentication", "pg_hba.conf", "does not exist")


def connect(settings: Settings, *, direct: bool = False) -> Connection[Any]:
    """Open a connection in autocommit mode; callers begin transactions explicitly.

    Raises:
        ConnectionFault: The server cannot be reached, refuses the connection or is too old.
    """
    url = (settings.direct_url if direct else None) or settings.url or ""
    if url:
        check_url(url)
    deadline = time.monotonic() + settings.wait_s
    announced = ""
    while True:
        try:
            # By default psycopg prepares a statement after executing it five times. A transaction pooler may
            # send the next execution to another server connection, where it does not exist.
            conn = psycopg.connect(_complete_url(url), autocommit=True, prepare_threshold=None)
        except psycopg.ProgrammingError:
            # Not chained: the message may quote a part of the URL.
            raise ConnectionFault("libpq does not understand the database URL", hint=URL_HINT) from None
        except psycopg.OperationalError as error:
            if time.monotonic() >= deadline or not _may_be_starting(error):
                raise _build_unreachable_fault(error) from error
            reason = _find_first_line(error)
            if reason != announced:
                announce_wait(f"waiting up to {settings.wait_s:g} s for the server (--wait): {reason}")
            announced = reason
            time.sleep(0.1)
        else:
            return _check_version(conn)


@contextmanager
def open_connection(settings: Settings, *, direct: bool = False) -> Iterator[Connection[Any]]:
    """Open a connection for the block and close it afterwards, as ``connect`` does.

    Raises:
        ConnectionFault: As for ``connect``.
    """
    # Not psycopg's own context manager: it commits or rolls back first, on a connection that may be lost.
    with closing(connect(settings, direct=direct)) as conn:
        yield conn


def read_parameters(conn: Connection[Any]) -> dict[str, Any]:
    """Return the parameters that an application's connection was opened with, the password included."""
    return {**conn.info.get_parameters(), "password": conn.info.password or None}


def connect_like(parameters: dict[str, Any]) -> Connection[Any]:
    """Open another connection with the same parameters.

    Raises:
        ConnectionFault: The server refuses it or cannot be reached.
    """
    try:
        return psycopg.connect(**cast(Any, parameters), autocommit=True, prepare_threshold=None)
    except psycopg.OperationalError as error:
        raise _build_unreachable_fault(error) from error


def _complete_url(url: str) -> str:
    """Add our defaults to a URL; what the URL or libpq's environment variables say wins."""
    parameters = psycopg.conninfo.conninfo_to_dict(url)
    return make_conninfo(
        url,
        **{name: parameters.get(name) or value for name, value in _KEEPALIVES.items()},
        client_encoding="UTF8",
        application_name=parameters.get("application_name") or os.environ.get("PGAPPNAME") or "confiture",
        connect_timeout=parameters.get("connect_timeout") or os.environ.get("PGCONNECT_TIMEOUT") or 10,
    )


def _may_be_starting(error: psycopg.OperationalError) -> bool:
    # A refused TCP connection has no SQLSTATE; 57P03 is cannot_connect_now, sent while the server starts.
    message = str(error)
    return error.sqlstate in (None, "57P03") and not any(words in message for words in _HAS_STARTED)


def _check_version(conn: Connection[Any]) -> Connection[Any]:
    major = conn.info.server_version // 10000
    if major < OLDEST_SUPPORTED:
        conn.close()
        raise ConnectionFault(
            f"the server is PostgreSQL {major}; confiture needs {OLDEST_SUPPORTED} or newer",
            hint="upgrade the server, or point --url at a newer one",
        )
    return conn


def _build_unreachable_fault(error: psycopg.OperationalError) -> ConnectionFault:
    text, first = str(error).strip(), _find_first_line(error)
    if "too many" in text or "remaining connection slots" in text:
        return TooManyConnections(f"cannot connect: {first}", hint=f"{_MORE}: {_NEEDED}")
    return ConnectionFault(f"cannot connect: {first}", hint=_suggest_remedy(text))


def _find_first_line(error: psycopg.OperationalError) -> str:
    text = str(error).strip()
    return text.splitlines()[0].removeprefix("connection failed: ") if text else type(error).__name__


_MORE = "raise the limit or close connections"
_NEEDED = (
    "a run needs two connections (one holds the lock), three for a no-transaction migration, and a rehearsal "
    "in a clone up to nine"
)
_NUMBERS = {2: "two", 3: "three", 4: "four"}


class TooManyConnections(ConnectionFault):
    """The server, the database or the role has no connection left."""


@contextmanager
def count_connections(needed: int) -> Iterator[None]:
    """Say how many connections this command needs, if the block cannot get them all.

    Raises:
        TooManyConnections: As the block does.
    """
    try:
        yield
    except TooManyConnections as fault:
        fault.hint = f"{_MORE}; confiture needs {_NUMBERS[needed]} connections here (one holds the lock)"
        raise


# Words of refusals by a server that runs, and the remedy for each.
_REFUSALS = {
    "not currently accepting connections": "allow them: ALTER DATABASE … ALLOW_CONNECTIONS true; or correct "
    "the name in --url",
    "not permitted to log in": "let it log in: ALTER ROLE … LOGIN; or name another role in --url",
    "permission denied for database": "let the role in: GRANT CONNECT ON DATABASE … TO …; or name another "
    "role in --url",
    "pg_hba.conf": "let this host, user and database in with a line in the server's pg_hba.conf, or connect "
    "as its lines allow",
    "query_wait_timeout": "the pooler had no connection to the server for it: is it paused, or its pool too "
    "small?",
    "the database system is": "wait until the server is ready: --wait SECONDS",
}


def _suggest_remedy(text: str) -> str:
    if "password" in text or "authentication failed" in text:
        return "check the user and the password: in the URL, PGPASSWORD, or ~/.pgpass"
    if "does not exist" in text:
        return "create it first, or correct the name in --url"
    for words, remedy in _REFUSALS.items():
        if words in text:
            return remedy
    return (
        "check that the server is running and that --url (or CONFITURE_DATABASE_URL, DATABASE_URL, url in "
        "the configuration file) is right; `--url embedded:` needs no server"
    )


def read_server_version(conn: Connection[Any]) -> str:
    """Return the version that the server reports, ``"18.1"``."""
    return (conn.info.parameter_status("server_version") or "").split(" ")[0]


def read_server_pid(conn: Connection[Any]) -> int:
    """Return the process id of the server process behind ``conn``.

    Raises:
        ConnectionFault: There is no answer within ten seconds. The migration lock holds a connection at this
            time, so a pool of one has none left.
    """
    try:
        return int(ask_patiently(conn, lambda: fetch_rows(conn, "SELECT pg_backend_pid()"))[0][0])
    except psycopg.Error:
        raise ConnectionFault(
            "could not get a second connection; confiture needs two (one holds the migration lock)",
            hint="give the pool at least two connections, or set url to the server itself",
        ) from None


def ask_patiently(conn: Connection[Any], ask: Callable[[], T]) -> T:
    """Return what ``ask`` returns, which waits for answers on ``conn``, if they arrive within ten seconds.

    Raises:
        psycopg.Error: They did not, or ``ask`` failed.
    """
    found: list[T] = []
    failed: list[Exception] = []

    def ask_and_keep() -> None:
        try:
            found.append(ask())
        except Exception as error:
            failed.append(error)

    # In a thread, because psycopg has no client-side timeout for a query, and a pooler's is minutes.
    asking = threading.Thread(target=ask_and_keep, daemon=True)
    asking.start()
    asking.join(_PATIENCE_S)
    if asking.is_alive():
        give_up(conn)
        asking.join()
    for error in failed:
        raise error
    return found[0]
