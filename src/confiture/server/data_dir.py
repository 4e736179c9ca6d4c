"""Where a project's data lies: beside its configuration, or where the server's user can reach it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from attrs import frozen

from confiture.exceptions import ServerFault
from confiture.server.account import Account, owner_of, server_account
from confiture.server.binaries import OVERRIDE

STATE = Path("/var/lib/confiture")
FOLDER = ".confiture"
NOTE = "embedded.json"


@frozen
class Place:
    """Where one server's files are.

    Attributes:
        home: The folder of them all.
        data: The data folder, ``pgNN`` in it.
        log: What the server says, beside the data.
        account: Whom the data belongs to.
        fsync: Whether what is committed survives a power cut.
        fleeting: Whether ``home`` is deleted with the server's end.
    """

    home: Path
    data: Path
    log: Path
    account: Account
    fsync: bool = True
    fleeting: bool = False

    def lock(self, name: str) -> Path:
        """Return the path of one of the lock files."""
        return self.home / f"embedded.{name}"


def place(root: Path, major: int) -> Place:
    """Return where the data of the project in ``root`` is, or is to be.

    Raises:
        ServerFault: It cannot be anywhere, or is another major version's.
    """
    folder = root.resolve() / FOLDER
    _make_folder(folder)
    account = server_account()
    data = folder / f"pg{major}"
    if account.dropped and not data.exists() and (_noted(folder) or not _reachable(folder, account)):
        refuse_other_majors(folder, major)
        folder = _private_home(folder, account, major)
        account = owner_of(folder)
        data = folder / f"pg{major}"
    account = _data_account(data, account)
    refuse_other_majors(folder, major)
    return Place(folder, data, folder / f"pg{major}.log", account)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")


def _data_account(data: Path, account: Account) -> Account:
    """Return whom existing data belongs to; root may become any of them, others must be it."""
    if not data.exists():
        return account
    owner = owner_of(data)
    if owner.uid != 0 and (account.dropped or owner.uid == account.uid):
        return owner
    raise ServerFault(
        f"the embedded server's data in {data} belongs to {owner.name}, and the server would run as "
        f"{account.name}",
        hint=f"run confiture as {owner.name} or as root, or delete {data}"
        if owner.uid
        else f"chown -R {account.name} {data}, or delete it",
    )


def _reachable(folder: Path, account: Account) -> bool:
    """Try it: a folder in there, handed over, must be usable for the server's user."""
    probe = Path(tempfile.mkdtemp(prefix=".probe-", dir=folder))
    try:
        account.give(probe)
        return account.may("-w", probe) and account.may("-x", probe)
    except PermissionError:
        return False
    finally:
        probe.rmdir()


def _noted(folder: Path) -> str | None:
    """Return the name of the private folder that an earlier command wrote down."""
    try:
        data = Path(json.loads((folder / NOTE).read_text(encoding="utf-8"))["data"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ServerFault(
            f"{folder / NOTE} does not say where the embedded server's data is: {error}",
            hint=f"delete {folder / NOTE}; the data is in a folder of {STATE}",
        ) from None
    # The file lies in the project: it may choose among our own folders, and none else.
    if data.parent.parent != STATE or data.parent.name == "..":
        raise ServerFault(
            f"{folder / NOTE} names {data}, which is not in {STATE}",
            hint=f"delete {folder / NOTE}, and an empty server is made",
        )
    return data.parent.name


def _private_home(folder: Path, account: Account, major: int) -> Path:
    root = folder.parent
    short = re.sub(r"[^A-Za-z0-9._-]+", "_", root.name)[:40]
    name = _noted(folder) or f"{short}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}"
    home = private_folder(state() / name, account)
    _note(folder / NOTE, {"data": str(home / f"pg{major}"), "user": owner_of(home).name})
    return home


def _note(path: Path, content: dict[str, str]) -> None:
    text = json.dumps(content, indent=2) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    making = path.with_name(f".{NOTE}-{os.getpid()}")
    making.write_text(text, encoding="utf-8")
    making.replace(path)


def state() -> Path:
    """Return root's folder for what an unprivileged server must reach, making it where it is missing."""
    try:
        STATE.mkdir()
    except FileExistsError:
        return STATE
    # Ours and new: whatever the umask, the server's user must be able to walk through.
    STATE.chmod(0o755)
    return STATE


def private_folder(path: Path, account: Account) -> Path:
    """Return a folder that only the server's user (and root) may enter, making it where it is missing."""
    if not path.exists():
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=path.parent))
        account.give(making)
        try:
            making.rename(path)
        except OSError:
            # Another command made it meanwhile, and has already put something in.
            shutil.rmtree(making, ignore_errors=True)
    owner = owner_of(path)
    if owner.uid == 0 or not owner.may("-x", path):
        raise ServerFault(
            f"the user {owner.name!r}, whom the embedded server runs as, cannot reach {path}",
            hint=f"see the rights of {path} and of the folders above it",
        )
    return path


def refuse_other_majors(home: Path, major: int) -> None:
    """Leave data alone that only another major version can read.

    Raises:
        ServerFault: There is some, and none of our version.
    """
    found = home / f"pg{major}"
    others = [found] if found.exists() else sorted(home.glob("pg*"))
    for data in others:
        version = _version_of(data)
        if version is not None and version != str(major):
            raise _OtherMajor(data, version, major)


def _version_of(data: Path) -> str | None:
    try:
        return (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


class _OtherMajor(ServerFault):
    """The data can only be read by another major version of PostgreSQL."""

    def __init__(self, data: Path, version: str, major: int) -> None:
        super().__init__(
            f"the embedded server's data in {data} is PostgreSQL {version}'s, and the server programs are "
            f"PostgreSQL {major}'s",
            hint=f"set {OVERRIDE} to the bin folder of a PostgreSQL {version} to go on with it; or dump it "
            f"with that version's pg_dump, move {data} away and load the dump into the new server; "
            "or delete it if nothing in it matters",
        )
