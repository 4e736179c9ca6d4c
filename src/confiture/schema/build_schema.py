"""Build the schema that the migrations lead to, on a server that exists only for this."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve

from confiture.api.execution import Executor
from confiture.config.settings import Settings
from confiture.models.migration import MigrationFile
from confiture.models.report import Report
from confiture.server import open_temporary_server
from confiture.server.extensions import add_extension_hints

_DATABASE = "app"


@contextmanager
def build_schema(settings: Settings) -> Iterator[tuple[Settings, Report]]:
    """Apply all migrations to an empty database, without hooks; yield settings that connect to it.

    Yields also the report of that run, which has failed if a migration has.

    Raises:
        ConfitureError: The server cannot be started, or a migration cannot be read.
    """
    with open_temporary_server(Path(tempfile.gettempdir())) as server:
        # Nobody else uses this server, so there is no lock to wait for.
        built = evolve(settings, url=server.conninfo(_DATABASE), direct_url=None, wait_s=0.0)
        report = Executor(built, "run", _choose_all, (), _ignore_progress).execute()
        yield built, evolve(report, mode="dry-run", migrations=add_extension_hints(report.migrations))


def _choose_all(scripts: tuple[MigrationFile, ...], _: object) -> tuple[MigrationFile, ...]:
    return scripts


def _ignore_progress(_: str) -> None:
    """Say nothing: what is judged is the end."""
