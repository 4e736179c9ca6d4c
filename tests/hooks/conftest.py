"""A small project to run hooks in, and every way in which a hook may be reached."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import psycopg
import pytest
from attrs import define, evolve, field

from confiture import hookimpl
from confiture.api import operations
from confiture.config.settings import Settings
from confiture.core import Hook, HookPhase, register_hook
from confiture.models.report import MigrationReport, Report
from confiture.plugins.load import LoadedPlugin
from tests.hooks.ways import WAYS, Way

Function = Callable[[Any, Any], Any]

_numbers = itertools.count(1)

SQL_UP = "{directive}CREATE TABLE stall (name text);\nINSERT INTO stall VALUES ('north');\n"
SQL_DOWN = "{directive}DROP TABLE stall;\n"
PYTHON = """\
from confiture.core import get_hook
from confiture.models.migration import Migration


class Stalls(Migration):
    transactional = {transactional}
    {own}

    def up(self):
        self.execute("CREATE TABLE stall (name text)")
        self.execute("INSERT INTO stall VALUES ('north')")

    def down(self):
        self.execute("DROP TABLE stall")
"""


@define
class PluginProject:
    """A folder of migrations, the plugins beside it, and the database they run in."""

    settings: Settings
    plugins: list[LoadedPlugin] = field(factory=list)

    def write(self, name: str, text: str) -> None:
        self.settings.migrations.mkdir(exist_ok=True)
        (self.settings.migrations / name).write_text(text)

    def plugin(self, name: str, /, *, config: dict[str, Any] | None = None, **hooks: Any) -> None:
        """Add a plugin; an unmarked function becomes a plain hook."""
        marked = {phase: _marked(function) for phase, function in hooks.items()}
        self.add(name, SimpleNamespace(**marked), config)

    def add(self, name: str, plugin: object, config: dict[str, Any] | None = None) -> None:
        self.plugins.append(LoadedPlugin(name, f"{name}-package", "1.0", plugin=plugin))
        tables = {**self.settings.plugin_tables, name: config or {}}
        self.settings = evolve(self.settings, plugin_tables=tables)

    def run(self, **more: Any) -> Report:
        return operations.run(self.settings, plugins=self.plugins, **more)

    def rehearse(self) -> Report:
        return self.run(dry_run=True)

    def down(self, **more: Any) -> Report:
        return operations.undo(self.settings, plugins=self.plugins, **more)


def _marked(function: Any) -> Any:
    return function if hasattr(function, "confiture_impl") else hookimpl(function)


@pytest.fixture
def project(database_url: str, tmp_path: Path) -> PluginProject:
    """An empty project on a new database."""
    return PluginProject(Settings(root=tmp_path, url=database_url, migrations=tmp_path / "migrations"))


@pytest.fixture
def jam(database: psycopg.Connection[Any]) -> Callable[[], list[str]]:
    """A table for hooks to write to; returns what another session finds in it."""
    database.execute("CREATE TABLE jam (fruit text)")
    return lambda: [fruit for (fruit,) in database.execute("SELECT fruit FROM jam ORDER BY fruit")]


@define
class Scene:
    """A project of one migration, run in one way, with one hook."""

    way: Way
    project: PluginProject
    database: psycopg.Connection[Any]

    def play(self, function: Function, phase: str = "after_ddl") -> MigrationReport:
        """Run the migration with ``function`` as its hook, and return what is reported of it."""
        report = self.report(function, phase)
        (migration,) = report.migrations
        return migration

    def report(self, function: Function, phase: str = "after_ddl") -> Report:
        self._write(function, phase)
        project = self.project
        if self.way.mode == "down":
            self._apply()
            return project.down()
        return project.rehearse() if self.way.mode == "dry-run" else project.run()

    def _apply(self) -> None:
        """Apply the migration without its hook."""
        CALLED["on"] = False
        try:
            assert operations.run(self.project.settings).exit_code == 0
        finally:
            CALLED["on"] = True

    def _write(self, function: Function, phase: str) -> None:
        if self.way.own:
            name = f"scene {next(_numbers)}"
            register_hook(name, _class_of(function, phase))
            own = f"{phase}_hooks = [get_hook({name!r})()]"
            self.project.write("1_stalls.py", PYTHON.format(own=own, transactional=self.way.transactional))
            return
        directive = "" if self.way.transactional else "-- confiture: no-transaction\n"
        self.project.write("1_stalls.up.sql", SQL_UP.format(directive=directive))
        self.project.write("1_stalls.down.sql", SQL_DOWN.format(directive=directive))
        hooks: dict[str, Any] = {phase: function}
        self.project.plugin("scene", **hooks)

    @property
    def changed(self) -> bool:
        """Whether the migration's own change is to be seen from outside."""
        ((there,),) = self.database.execute("SELECT to_regclass('stall') IS NOT NULL").fetchall()
        return bool(there) is (self.way.mode != "down")

    @property
    def recorded(self) -> bool:
        """Whether the ledger says what the migration set out for."""
        ((ledger,),) = self.database.execute("SELECT to_regclass('confiture.ledger')").fetchall()
        there = ledger and self.database.execute("SELECT 1 FROM confiture.ledger").fetchall()
        return bool(there) is (self.way.mode != "down")


CALLED = {"on": True}


def _class_of(function: Function, phase: str) -> type[Hook]:
    class Given(Hook):
        phase: ClassVar[HookPhase]

        def execute(self, conn: Any, context: Any) -> Any:
            return function(conn, context) if CALLED["on"] else None

    Given.phase = HookPhase.of(phase)
    return Given


@pytest.fixture(params=WAYS, ids=str)
def scene(request: pytest.FixtureRequest, project: PluginProject, database: Any, jam: Any) -> Scene:
    """Run, rehearsal and down, SQL and Python, with a transaction and without: every pair of them."""
    return Scene(request.param, project, database)
