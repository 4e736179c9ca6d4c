"""The error with which a migration is refused."""

from __future__ import annotations

from confiture.exceptions import UserFault


class MigrationRefused(UserFault):
    """The server, the hour or another session's lock does not allow the migration."""

    exit_code = 5
