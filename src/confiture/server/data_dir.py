"""Choose where a project's data is stored: next to its configuration, or where the server's user can go."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from confiture.exceptions import ServerFault
from confiture.server.account import Account, choose_server_account, read_owner
from confiture.server.binaries import BINDIR_VARIABLE

STATE_FOLDER = Path("/var/lib/confiture")
PROJECT_FOLDER = ".confiture"
NOTE_FILE = "embedded.json"


@frozen
class ServerFiles:
    """The files of one server.

    Attributes:
        home: The folder that contains all of them.
        data: The data folder, ``pgNN`` in ``home``.
        log: The server's log, in ``home``.
        account: The owner of the data.
        fsync: True if committed data survives a power failure.
        is_temporary: True if ``home`` is deleted when the server ends.
        settings: Further settings of the whole server.
    """

    home: Path
    data: Path
    log: Path
    account: Account
    fsync: bool = True
    is_temporary: bool = False
    settings: Mapping[str, str] = field(factory=dict)

    def lock_path(self, name: str) -> Path:
        """Return the path of the lock file ``name``: ``gate``, ``users`` or ``supervisor``."""
        return self.home / f"embedded.{name}"


def locate_files(root: Path, major: int) -> ServerFiles:
    """Return the files of the project in ``root``, existing or to be created.

    Raises:
        ServerFault: No suitable folder can be created, or the data is of another major version.
    """
    folder = root.resolve() / PROJECT_FOLDER
    _make_folder(folder)
    account = choose_server_account()
    data = folder / f"pg{major}"
    if (
        account.drops_privileges
        and not data.exists()
        and (_read_note(folder) or not _is_reachable(folder, account))
    ):
        refuse_other_majors(folder, major)
        folder = _make_private_home(folder, account, major)
        account = read_owner(folder)
        data = folder / f"pg{major}"
    account = _choose_data_account(data, account)
    refuse_other_majors(folder, major)
    return ServerFiles(folder, data, folder / f"pg{major}.log", account)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")


def _choose_data_account(data: Path, account: Account) -> Account:
    """Return the owner of existing data: root may switch to it, any other user must be the owner."""
    if not data.exists():
        return account
    owner = read_owner(data)
    if owner.uid != 0 and (account.drops_privileges or owner.uid == account.uid):
        return owner
    raise ServerFault(
        f"the embedded server's data in {data} belongs to {owner.name}, but the server would run as "
        f"{account.name}",
        hint=f"run confiture as {owner.name} or as root, or delete {data}"
        if owner.uid
        else f"make {account.name} the owner: chown -R {account.name} {data}; or delete it",
    )


def _is_reachable(folder: Path, account: Account) -> bool:
    """Return True if the server's user can use a new folder in ``folder``."""
    # Try it: mode bits do not show ACLs, mount options or a closed folder further up.
    probe = Path(tempfile.mkdtemp(prefix=".probe-", dir=folder))
    try:
        account.give(probe)
        return account.has_access("-w", probe) and account.has_access("-x", probe)
    except PermissionError:
        return False
    finally:
        probe.rmdir()


def _read_note(folder: Path) -> str | None:
    """Return the name of the private folder that an earlier command recorded; ``None`` if there is none."""
    try:
        data = Path(json.loads((folder / NOTE_FILE).read_text(encoding="utf-8"))["data"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ServerFault(
            f"{folder / NOTE_FILE} does not name the embedded server's data folder: {error}",
            hint=f"delete {folder / NOTE_FILE}; the data is in a folder of {STATE_FOLDER}",
        ) from None
    # Whoever can write to the project can change this file, and root acts on it: accept only our own folders.
    if data.parent.parent != STATE_FOLDER or data.parent.name == "..":
        raise ServerFault(
            f"{folder / NOTE_FILE} names {data}, which is not in {STATE_FOLDER}",
            hint=f"delete {folder / NOTE_FILE}; the next command creates an empty server",
        )
    return data.parent.name


def _make_private_home(folder: Path, account: Account, major: int) -> Path:
    root = folder.parent
    short = re.sub(r"[^A-Za-z0-9._-]+", "_", root.name)[:40]
    name = _read_note(folder) or f"{short}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}"
    home = make_private_folder(make_state_folder() / name, account)
    _write_note(folder / NOTE_FILE, {"data": str(home / f"pg{major}"), "user": read_owner(home).name})
    return home


def _write_note(path: Path, content: dict[str, str]) -> None:
    text = json.dumps(content, indent=2) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    # Renaming is atomic: another command never reads half a note.
    new = path.with_name(f".{NOTE_FILE}-{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def make_state_folder() -> Path:
    """Return root's folder for what an unprivileged server must reach; create it if it is missing."""
    try:
        STATE_FOLDER.mkdir()
    except FileExistsError:
        return STATE_FOLDER
    # Despite a strict umask, the server's user must be able to pass through it.
    STATE_FOLDER.chmod(0o755)
    return STATE_FOLDER


def make_private_folder(path: Path, account: Account) -> Path:
    """Return a folder that only the server's user and root may enter; create it if it is missing."""
    if not path.exists():
        unfinished = Path(tempfile.mkdtemp(prefix=".making-", dir=path.parent))
        account.give(unfinished)
        try:
            unfinished.rename(path)
        except OSError:
            # Another command has created it first, and already put something in.
            shutil.rmtree(unfinished, ignore_errors=True)
    owner = read_owner(path)
    if owner.uid == 0 or not owner.has_access("-x", path):
        raise ServerFault(
            f"the embedded server runs as {owner.name!r}, who cannot reach {path}",
            hint=f"check the permissions of {path} and of the folders above it",
        )
    return path


def refuse_other_majors(home: Path, major: int) -> None:
    """Raise a fault if the only data is of another major version, which our server cannot read.

    Raises:
        ServerFault: There is such data, and none of our version.
    """
    found = home / f"pg{major}"
    others = [found] if found.exists() else sorted(home.glob("pg*"))
    for data in others:
        version = _read_version(data)
        if version is not None and version != str(major):
            raise _OtherMajorFault(data, version, major)


def _read_version(data: Path) -> str | None:
    try:
        return (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


class _OtherMajorFault(ServerFault):
    """Only another major version of PostgreSQL can read the data."""

    def __init__(self, data: Path, version: str, major: int) -> None:
        super().__init__(
            f"the embedded server's data in {data} is from PostgreSQL {version}, but the server programs are "
            f"PostgreSQL {major}",
            hint=f"set {BINDIR_VARIABLE} to the bin folder of a PostgreSQL {version} to keep using it; or "
            f"dump it with that version's pg_dump, move {data} away and load the dump into the new server; "
            "or delete it if you do not need it",
        )
