"""A pytest plugin for plugin authors: a server, a fresh database a test, and one phase run as a run does.

Load it with ``-p confiture.testing`` in ``addopts``. ``confiture-pg[embedded]`` brings the server; or
``CONFITURE_TEST_URL`` names one.

Not pytest-postgresql's fixtures: ``postgresql_noproc`` wants host and port before the first test is
collected, and ours come from a server that is started when the first test asks for it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import psycopg
import pytest
from attrs import frozen
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from confiture.core.hooks import HookContext, HookPhase, HookResult
from confiture.server import binaries, temporary

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 1 << 30
_numbers = itertools.count(1)


class AnyServer(Protocol):
    """A server to test on."""

    @property
    def bindir(self) -> Path:
        """Where ``psql`` and ``pg_dump`` are."""

    def conninfo(self, dbname: str) -> str:
        """Return the URL of one of its databases."""


@frozen
class NamedServer:
    """The server that ``CONFITURE_TEST_URL`` names."""

    url: str

    @property
    def bindir(self) -> Path:
        """Where ``psql`` and ``pg_dump`` are."""
        return binaries()

    def conninfo(self, dbname: str) -> str:
        """Return the URL of one of its databases."""
        options = {
            name: str(value) for name, value in conninfo_to_dict(self.url).items() if value is not None
        }
        return f"postgresql:///{quote(dbname, safe='')}?" + urlencode(
            {name: value for name, value in options.items() if name != "dbname"}, quote_via=quote, safe=""
        )


def _fast_folder() -> Path:
    """Memory where there is room, else the disk."""
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES:
        return _MEMORY
    return Path(tempfile.gettempdir())


@pytest.fixture(scope="session")
def server() -> Iterator[AnyServer]:
    """The server of this session: ``CONFITURE_TEST_URL``'s, else one of our own without fsync."""
    named = os.environ.get("CONFITURE_TEST_URL")
    if named:
        yield NamedServer(named)
        return
    with temporary(_fast_folder(), fsync=False) as ours:
        yield ours


@pytest.fixture(scope="session")
def _maintenance(server: AnyServer) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn:
        yield conn


@pytest.fixture
def database_url(server: AnyServer, _maintenance: psycopg.Connection[Any]) -> Iterator[str]:
    """The URL of a new, empty database, dropped afterwards whoever is still connected."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    # Copying the few files is four times faster here than writing them through the log.
    how = "TEMPLATE template0 STRATEGY file_copy" if _maintenance.info.server_version >= 150000 else ""
    _maintenance.execute(sql.SQL("CREATE DATABASE {} " + how).format(sql.Identifier(name)))
    yield server.conninfo(name)
    _maintenance.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the test's database, in autocommit."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def second(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session on the same database, in autocommit."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        yield conn


def run_hook(
    plugin: Any,
    phase: HookPhase | str,
    *,
    conn: psycopg.Connection[Any],
    context: HookContext | None = None,
    config: Mapping[str, Any] | None = None,
    name: str = "plugin",
    **more: Any,
) -> list[HookResult]:
    """Run one phase of ``plugin`` as a run does, guard included, and return what its hooks report.

    On an idle connection the phase has a transaction of its own, which is committed, and then the
    ``on_commit`` callbacks are called; with ``context.dry_run`` it is rolled back and none is. On one
    already in a transaction its end is the test's: what ``context.set_local`` set can be looked at there.

    Args:
        plugin: The module or object that the entry point names.
        phase: Which phase.
        conn: A real connection.
        context: What the hooks are told; the forward direction of a migration ``1 test`` without it.
        config: The plugin's table of the configuration.
        name: What the entry point is called.
        more: For ``on_error`` the ``error``.

    Raises:
        HookError: A hook failed; what the phase did is undone.
        pluggy.PluginValidationError: It has a hook or an argument that there is not.
    """
    from confiture.core.phases import Phases
    from confiture.core.session import Session
    from confiture.plugins.guarding import GuardedPluginManager

    manager = GuardedPluginManager({name: config or {}})
    manager.register(plugin, name)
    manager.check_pending()
    session, wanted = Session.of_caller(conn), HookPhase.of(phase)
    phases = Phases(manager, context or HookContext("test", "1"))
    if wanted is HookPhase.ON_ERROR:
        phases.context.error = more.setdefault("error", phases.context.error)
    with session.transaction(keep=not phases.context.dry_run):
        results = phases.run(session, wanted, **more)
    if not (phases.context.dry_run or session.nested):
        for callback in phases.context.callbacks:
            callback()
    return results
