"""``confiture dump``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from attrs import evolve

from confiture.cli.context import open_server, read_settings
from confiture.cli.error_messages import shorten_path
from confiture.cli.flags import Flags, database_options
from confiture.cli.outputs import open_outputs
from confiture.config.settings import Settings

if TYPE_CHECKING:
    from confiture.models.ledger import Dump


@click.command("dump")
@database_options
@click.argument("file", metavar="[FILE]", required=False)
def command(flags: Flags, file: str | None) -> int:
    """Write the schema as SQL to commit and review.

    Without FILE, writes schema.sql in the configuration's folder; - is stdout.
    """
    if file == "-" and "json" in flags.output:
        raise click.UsageError("stdout cannot take both the schema and a report: use --output json=FILE")
    with open_outputs(flags) as out:
        with open_server(read_settings(flags)) as settings:
            dump = _dump_to_stdout(settings) if file == "-" else _dump_to_file(settings, file)
        out.write("dump", dump)
    return 0


def _dump_to_file(settings: Settings, file: str | None) -> Dump:
    from confiture.postgres.dump import write_schema

    dump = write_schema(settings, file)
    return evolve(dump, file=shorten_path(dump.file))


def _dump_to_stdout(settings: Settings) -> Dump:
    from confiture.models.ledger import Dump
    from confiture.postgres.dump import STDOUT, read_schema

    schema = read_schema(settings)
    click.echo(schema.text, nl=False)
    return Dump(STDOUT, True, schema.server_version, schema.pg_dump_version)
