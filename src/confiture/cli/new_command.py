"""``confiture new``."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import click

from confiture.cli.context import read_settings
from confiture.cli.flags import Flags, local_options
from confiture.exceptions import UsageFault

_SQL_TEMPLATE = """{directive}-- migrate:up


-- migrate:down

"""
_PYTHON_TEMPLATE = '''"""{title}."""

from confiture.models.migration import Migration


class {class_name}(Migration):
    """{title}."""
{directive}
    def up(self) -> None:
        """Make the change."""
        raise NotImplementedError("write the change: self.execute(...)")
'''


@click.command("new")
@local_options
@click.argument("name")
@click.option("--python", "python", is_flag=True, help="Write a Python class instead of SQL.")
@click.option("--no-transaction", is_flag=True, help="Run each statement by itself, as CONCURRENTLY needs.")
def command(flags: Flags, name: str, python: bool, no_transaction: bool) -> int:
    """Write a new, empty migration."""
    safe = make_safe_name(name)
    settings = read_settings(flags)
    _refuse_foreign(settings.source)
    folder = settings.migrations
    path = folder / f"{_choose_version(folder)}_{safe}{'.py' if python else '.sql'}"
    _write(path, render_python(safe, no_transaction) if python else render_sql(no_transaction))
    click.echo(str(path))
    return 0


def _refuse_foreign(source: str | None) -> None:
    # dbmate's files are named and divided as ours.
    if source not in (None, "plain", "dbmate"):
        raise UsageFault(
            f"the migrations are of {source}, which names its files differently",
            hint=f"write the file as {source} does; confiture reads it where it is",
        )


def make_safe_name(name: str) -> str:
    """Return ``name`` with all characters replaced that a file name must not have.

    Raises:
        UsageFault: ``name`` is a path, has no letter, or begins with a number, which would become part of the
            version.
    """
    if "/" in name or os.sep in name or "\\" in name:
        raise UsageFault(f"{name!r} is a path", hint="give only a name; choose the folder with --migrations")
    safe = re.sub(r"[^\w-]+", "_", name).strip("_")
    if not safe:
        raise UsageFault(
            f"{name!r} cannot be the name of a file", hint="use letters: confiture new create_orders"
        )
    if re.match(r"\d+(_|$)", safe):
        raise UsageFault(
            f"{name!r} begins with a number, which would become part of the version",
            hint="begin the name with a word",
        )
    return safe


def render_sql(no_transaction: bool) -> str:
    """Return the text of an empty SQL migration."""
    return _SQL_TEMPLATE.format(directive="-- confiture: no-transaction\n\n" if no_transaction else "")


def render_python(name: str, no_transaction: bool) -> str:
    """Return the text of an empty Python migration."""
    class_name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[_-]+", name))
    words = re.sub(r"[_-]+", " ", name)
    return _PYTHON_TEMPLATE.format(
        title=words[:1].upper() + words[1:],
        class_name=class_name if class_name.isidentifier() else f"M{class_name}",
        directive="\n    transactional = False\n" if no_transaction else "",
    )


def _choose_version(folder: Path) -> str:
    from confiture.migrations.version import choose_next_version, parse_filename

    names = os.listdir(folder) if folder.is_dir() else []
    found = [parse_filename(name) for name in names]
    return choose_next_version([file_name.version for file_name in found if file_name], datetime.now(UTC))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # "x" never overwrites: two processes may choose the same version.
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
