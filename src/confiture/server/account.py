"""Choose the user that the server runs as: never root, and always an existing user.

PostgreSQL refuses to run as root, as it would in most containers. Adding a system user would change the
machine, so root switches to ``postgres`` or ``nobody`` for the server's processes.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from confiture.exceptions import ServerFault

_UNPRIVILEGED_USERS = ("postgres", "nobody")
# PG* are settings for libpq and the server; LC_* and LANG choose the language of messages and the locale.
_FOREIGN_PREFIXES = ("PG", "LC_", "LANG")


@frozen
class Account:
    """The user that a server runs as.

    Attributes:
        uid: The user id.
        gid: The group id.
        name: The user name.
        drops_privileges: True if we are root and switch to this user for the server's processes.
    """

    uid: int
    gid: int
    name: str
    drops_privileges: bool

    @property
    def identity(self) -> dict[str, Any]:
        """The arguments with which ``subprocess`` runs a program as this user."""
        # Without extra_groups=[] the program would keep root's supplementary groups.
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.drops_privileges else {}

    def run(
        self, command: Sequence[str | Path], *, stdin: str = "", keep: Collection[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, without the caller's PostgreSQL and language variables.

        The program inherits the file descriptors in ``keep`` and no others.
        """
        # In /, because this user may not be allowed to enter the current directory.
        return subprocess.run(
            [os.fspath(word) for word in command],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd="/",
            env=build_clean_environment(),
            check=False,
            pass_fds=keep,
            **self.identity,
        )

    def has_access(self, test: str, path: Path) -> bool:
        """Return True if ``test -r``, ``-w`` or ``-x`` succeeds on ``path`` for this user."""
        # Mode bits are not enough: ACLs and the folders above decide too.
        return self.run(["/bin/sh", "-c", f'test {test} "$0"', path]).returncode == 0

    def give(self, path: Path) -> None:
        """Make this user the owner of a file or folder that we just created."""
        if self.drops_privileges:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def choose_server_account() -> Account:
    """Return the user for a new server: the current one, or for root ``postgres``, else ``nobody``.

    Raises:
        ServerFault: We are root and neither user exists.
    """
    if os.geteuid() != 0:
        return get_current_account()
    for name in _UNPRIVILEGED_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, name, drops_privileges=True)
    raise ServerFault(
        "PostgreSQL does not run as root, and this machine has neither a user 'postgres' nor 'nobody'",
        hint="run confiture as an ordinary user, or connect to another server with --url",
    )


def get_current_account() -> Account:
    """Return the user that runs this process."""
    return Account(os.geteuid(), os.getegid(), _read_user_name(os.geteuid()), drops_privileges=False)


def read_owner(path: Path) -> Account:
    """Return the owner of ``path``."""
    found = path.lstat()
    return Account(
        found.st_uid, found.st_gid, _read_user_name(found.st_uid), drops_privileges=os.geteuid() == 0
    )


def _read_user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def build_clean_environment() -> dict[str, str]:
    """Return the environment without variables that change PostgreSQL's behaviour or language."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_PREFIXES)}
