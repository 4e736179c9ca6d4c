"""``confiture new``."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import click

from confiture.cli.context import settings_of
from confiture.cli.flags import Flags, local
from confiture.exceptions import UsageFault

_SQL = """{directive}-- migrate:up


-- migrate:down

"""
_PYTHON = '''"""{title}."""

from confiture.models.migration import Migration


class {class_name}(Migration):
    """{title}."""
{directive}
    def up(self) -> None:
        """Make the change."""
        raise NotImplementedError("write the change: self.execute(...)")
'''


@click.command("new")
@local
@click.argument("name")
@click.option("--python", "python", is_flag=True, help="Write a Python class instead of SQL.")
@click.option("--no-transaction", is_flag=True, help="Run each statement by itself, as CONCURRENTLY needs.")
def command(flags: Flags, name: str, python: bool, no_transaction: bool) -> int:
    """Write a new, empty migration."""
    safe = safe_name(name)
    folder = settings_of(flags).migrations
    path = folder / f"{_version(folder)}_{safe}{'.py' if python else '.sql'}"
    _write(path, python_text(safe, no_transaction) if python else sql_text(no_transaction))
    click.echo(str(path))
    return 0


def safe_name(name: str) -> str:
    """Return ``name`` as it can stand in a file's name.

    Raises:
        UsageFault: Nothing is left of it, or it would be taken for a path or for a version.
    """
    if "/" in name or os.sep in name or "\\" in name:
        raise UsageFault(f"{name!r} is a path", hint="give a name only; --migrations says which folder")
    safe = re.sub(r"[^\w-]+", "_", name).strip("_")
    if not safe:
        raise UsageFault(f"{name!r} is no name for a file", hint="use letters: confiture new create_orders")
    if re.match(r"\d+(_|$)", safe):
        raise UsageFault(
            f"{name!r} begins with a number, which would be read as a part of the version",
            hint="put a word first",
        )
    return safe


def sql_text(no_transaction: bool) -> str:
    """Return an SQL migration to be filled in."""
    return _SQL.format(directive="-- confiture: no-transaction\n\n" if no_transaction else "")


def python_text(name: str, no_transaction: bool) -> str:
    """Return a Python migration to be filled in."""
    class_name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[_-]+", name))
    words = re.sub(r"[_-]+", " ", name)
    return _PYTHON.format(
        title=words[:1].upper() + words[1:],
        class_name=class_name if class_name.isidentifier() else f"M{class_name}",
        directive="\n    transactional = False\n" if no_transaction else "",
    )


def _version(folder: Path) -> str:
    from confiture.migrations.version import next_version, parse_filename

    names = os.listdir(folder) if folder.is_dir() else []
    found = [parse_filename(name) for name in names]
    return next_version([each.version for each in found if each], datetime.now(UTC))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
