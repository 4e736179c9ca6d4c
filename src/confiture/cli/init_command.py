"""``confiture init``."""

from __future__ import annotations

from pathlib import Path

import click

from confiture.cli.error_messages import shorten_path
from confiture.config.config_file import read_config_file
from confiture.config.settings import load_settings

_CONFIGURATION_TEMPLATE = """\
# Settings of confiture. All are optional. Flags and environment variables override them.

# url = "postgresql://${USER}@localhost/app"   # or "embedded:", which starts a server
# migrations = "migrations"
# plugins = ["backfill", "guard==0.1.0"]
# lock_timeout = "5s"

# [plugin.guard]
# role = "owner"

# [env.production]
# url = "${PRODUCTION_DATABASE_URL}"
"""


@click.command("init")
def command() -> int:
    """Write a configuration file and a migrations folder."""
    folder = Path.cwd()
    if (file := read_config_file(folder)) is not None:
        click.echo(f"{file.path.name} already exists; not changed")
    else:
        with (folder / "confiture.toml").open("x", encoding="utf-8") as new:
            new.write(_CONFIGURATION_TEMPLATE)
        click.echo("wrote confiture.toml")
    _make_folder()
    return 0


def _make_folder() -> None:
    folder = load_settings(environ={}).migrations
    shown = shorten_path(str(folder))
    if folder.is_dir():
        click.echo(f"{shown}/ already exists; not changed")
        return
    folder.mkdir(parents=True)
    click.echo(f"made {shown}/\n\nnext: confiture new NAME")
