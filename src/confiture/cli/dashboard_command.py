"""``confiture dashboard``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from attrs import evolve

from confiture.cli.context import open_server, read_settings
from confiture.cli.flags import Flags, database_options
from confiture.cli.outputs import open_outputs
from confiture.config.settings import Settings
from confiture.config.urls import EMBEDDED_URL
from confiture.exceptions import ConnectionFault, UsageFault
from confiture.models.fleet import RunRecord


@click.command("dashboard")
@database_options
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--targets", metavar="FILE", help="A CSV file of databases to show side by side: name,url.")
def command(flags: Flags, file: Path | None, targets: str | None) -> int:
    """Write the history of one or more databases as one HTML page.

    Writes to FILE, or to stdout. With --output json, writes the same as JSON. The last run of a fleet is
    on it too, if one is recorded.
    """
    from confiture.api.read_dashboard import read_dashboard

    if not flags.output:
        flags = evolve(flags, output=(f"html={file}" if file else "html",))
    elif file:
        raise click.UsageError("FILE and --output cannot both be given: write --output html=FILE")
    with open_outputs(flags) as out:
        settings = read_settings(flags)
        with _open_databases(settings, targets) as databases:
            dashboard = read_dashboard(databases)
            dashboard = evolve(dashboard, fleet=_read_fleet(settings, databases[0][1]))
        out.write("dashboard", dashboard)
    return 0


def _read_fleet(settings: Settings, first: Settings) -> RunRecord | None:
    """Return the last fleet run in the control database, or in the first one that is shown."""
    from psycopg.errors import InsufficientPrivilege

    from confiture.fleet.store import FleetStore
    from confiture.postgres.connect import open_connection

    control = settings.fleet.control
    opened = first if control in (None, EMBEDDED_URL) else evolve(settings, url=control, direct_url=None)
    try:
        with open_connection(opened) as conn:
            return FleetStore(conn, settings.schema).read_present()
    except (UsageFault, ConnectionFault, InsufficientPrivilege):
        return None


@contextmanager
def _open_databases(settings: Settings, targets: str | None) -> Iterator[list[tuple[str, Settings]]]:
    if targets is None:
        with open_server(settings) as opened:
            yield [("", opened)]
        return
    import os

    from confiture.fleet.read_targets import read_file
    from confiture.fleet.work import build_settings

    yield [
        (target.name, build_settings(settings, target, os.environ))
        for target in read_file(settings.root / targets)
    ]
