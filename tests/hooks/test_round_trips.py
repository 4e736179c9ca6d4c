"""n hooks of a phase cost at most n + 1 control round trips, counted on the wire."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from attrs import define, evolve, field, frozen

from confiture import hookimpl
from confiture.core import Hook, HookContext, HookExecutor, HookPhase

pytestmark = pytest.mark.slow

_HOOKS = 10
_PORT = 5432


@define
class Wire:
    """What one client connection sent, a message after the other, without the start-up."""

    messages: list[tuple[bytes, bytes]] = field(factory=list)
    _buffer: bytes = b""
    _started: bool = False

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while (message := self._cut()) is not None:
            self.messages.append(message)

    def _cut(self) -> tuple[bytes, bytes] | None:
        head = 1 if self._started else 0
        if len(self._buffer) < head + 4:
            return None
        length = head + int.from_bytes(self._buffer[head : head + 4])
        if len(self._buffer) < length:
            return None
        kind, body = self._buffer[:head], self._buffer[head + 4 : length]
        self._buffer, self._started = self._buffer[length:], True
        return kind, body

    @property
    def round_trips(self) -> int:
        """A simple query, or a Sync at the end of an extended one."""
        return sum(kind in (b"Q", b"S") for kind, _ in self.messages)

    @property
    def guards(self) -> bool:
        return any(b"SAVEPOINT" in body for _, body in self.messages)


@frozen
class Proxy:
    """A Unix socket in front of the server, which notes what clients say."""

    url: str
    wires: list[Wire]

    def round_trips(self) -> int:
        """Those of the connection on which savepoints were set."""
        (wire,) = [each for each in self.wires if each.guards]
        self.wires.clear()
        return wire.round_trips


def _server_socket(database: psycopg.Connection[Any]) -> socket.socket:
    info = database.info
    if info.host.startswith("/"):
        there = socket.socket(socket.AF_UNIX)
        there.connect(f"{info.host}/.s.PGSQL.{info.port}")
        return there
    return socket.create_connection((info.host, info.port))


def _pump(source: socket.socket, target: socket.socket, wire: Wire | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if wire:
                wire.feed(data)
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, database: psycopg.Connection[Any], wires: list[Wire]) -> None:
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        while True:
            client = stack.enter_context(listener.accept()[0])
            server = stack.enter_context(_server_socket(database))
            wires.append(Wire())
            for args in ((client, server, wires[-1]), (server, client, None)):
                threading.Thread(target=_pump, args=args, daemon=True).start()


@pytest.fixture
def proxy(database: psycopg.Connection[Any]) -> Iterator[Proxy]:
    # Not tmp_path: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(Path(folder) / f".s.PGSQL.{_PORT}"))
        listener.listen()
        wires: list[Wire] = []
        thread = threading.Thread(target=_serve, args=(listener, database, wires), daemon=True)
        thread.start()
        info = database.info
        options = {"host": folder, "port": _PORT, "user": info.user, "password": info.password}
        given = urlencode({name: value for name, value in options.items() if value})
        yield Proxy(f"postgresql:///{info.dbname}?{given}&gssencmode=disable", wires)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def nothing(conn: Any, context: Any) -> None:
    return None


class Nothing(Hook):
    phase = HookPhase.AFTER_DDL

    def execute(self, conn, context):
        return None


@pytest.mark.parametrize("count", [1, _HOOKS])
def test_hooks_of_the_executor_cost_one_round_trip_each_and_one_more(proxy, count):
    with psycopg.connect(proxy.url) as conn:
        HookExecutor().execute_phase(
            conn, HookPhase.AFTER_DDL, [Nothing() for _ in range(count)], HookContext("stalls", "1")
        )

    begin_and_commit = 2
    assert proxy.round_trips() - begin_and_commit == count + 1


@pytest.mark.parametrize("count", [1, _HOOKS])
@pytest.mark.parametrize("mode", ["run", "dry-run"])
@pytest.mark.parametrize("phase", ["before_validation", "before_ddl", "after_ddl"])
def test_plugins_hooks_cost_at_most_one_round_trip_each_and_one_more(project, proxy, count, mode, phase):
    dry_run = mode == "dry-run"
    # With a hook in the last phase the constraints are checked in a message of their own in each run.
    project.plugin("last", cleanup=nothing)
    project.settings = evolve(project.settings, url=proxy.url)
    project.write("1_first.sql", "SELECT 1;")
    project.run()
    proxy.round_trips()
    project.write("2_without.sql", "SELECT 1;")
    project.run(dry_run=dry_run)
    without = proxy.round_trips()

    if not dry_run:
        project.write("3_with.sql", "SELECT 1;")
    for number in range(count):
        project.plugin(f"p{number}", **{phase: nothing})
    report = project.run(dry_run=dry_run)

    assert report.exit_code == 0
    assert [len(migration.hooks) for migration in report.migrations] == [count + 1]
    assert 0 < proxy.round_trips() - without <= count + 1


@pytest.mark.parametrize("failing", [{}, {"on_failure": "continue"}], ids=["kept", "failing"])
def test_hooks_that_fail_and_are_passed_over_cost_no_more(project, proxy, failing):
    def maybe():
        if failing:
            raise ValueError("burnt")

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("last", cleanup=nothing)
    project.settings = evolve(project.settings, url=proxy.url)
    project.rehearse()
    without = proxy.round_trips()
    for number in range(_HOOKS):
        project.plugin(f"p{number}", config=failing, after_ddl=maybe)

    project.rehearse()

    assert proxy.round_trips() - without <= _HOOKS + 1


def test_a_wrapper_costs_two_round_trips_of_its_own(project, proxy):
    @hookimpl(wrapper=True)
    def wrap():
        return (yield)

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("last", cleanup=nothing)
    for number in range(_HOOKS):
        project.plugin(f"p{number}", after_ddl=nothing)
    project.settings = evolve(project.settings, url=proxy.url)
    project.rehearse()
    without = proxy.round_trips()
    project.plugin("wrapper", after_ddl=wrap)

    project.rehearse()

    assert proxy.round_trips() - without <= 2
