"""Who the server runs as: never root, never somebody made up for it."""

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
_FOREIGN_PREFIXES = ("PG", "LC_", "LANG")


@frozen
class Account:
    """The user a server runs as.

    Attributes:
        uid: Its number.
        gid: Its group's number.
        name: As a person knows it.
        drops_privileges: Whether we are root and become this user for the server only.
    """

    uid: int
    gid: int
    name: str
    drops_privileges: bool

    @property
    def identity(self) -> dict[str, Any]:
        """What ``subprocess`` needs to run something as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.drops_privileges else {}

    def run(
        self, command: Sequence[str | Path], *, stdin: str = "", keep: Collection[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, in ``/``, without the caller's PostgreSQL and language settings.

        It inherits the open files in ``keep``, and nothing else of ours.
        """
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
        """Tell whether this user can do to ``path`` what ``test -r``, ``-w`` or ``-x`` asks."""
        return self.run(["/bin/sh", "-c", f'test {test} "$0"', path]).returncode == 0

    def give(self, path: Path) -> None:
        """Hand over something we just made."""
        if self.drops_privileges:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def choose_server_account() -> Account:
    """Return the user for a new server: ourselves, or as root ``postgres``, else ``nobody``.

    Raises:
        ServerFault: We are root and there is neither.
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
        hint="run confiture as an ordinary user, or use a server of your own with --url",
    )


def get_current_account() -> Account:
    """Return the user who runs this."""
    return Account(os.geteuid(), os.getegid(), _read_user_name(os.geteuid()), drops_privileges=False)


def read_owner(path: Path) -> Account:
    """Return the user whom ``path`` belongs to."""
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
    """Return the environment without what would change how PostgreSQL behaves or speaks."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_PREFIXES)}
