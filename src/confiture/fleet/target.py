"""Define what a fleet consists of: databases, or schemas of one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property

from attrs import Factory, field, frozen
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from confiture.config.settings import mask_password

_LONGEST_NAME_BYTES = 63
_DEFAULT_PORT = "5432"


@frozen(slots=False)
class Target:
    """A database of a fleet, or a schema of one.

    Attributes:
        name: A name that no other target has.
        url: Its database; variables such as ``${PASSWORD}`` are expanded where it is used.
        schema: The schema of a tenant, which search_path names; ``None`` for the whole database.
        tags: What it is, by the name of each tag.
    """

    name: str
    url: str = field(repr=mask_password)
    schema: str | None = None
    tags: Mapping[str, str] = Factory(dict)

    @property
    def ledger_schema(self) -> str | None:
        """The schema of a tenant's own ledger; ``None`` for that of the settings."""
        if self.schema is None:
            return None
        name = f"confiture_{self.schema}"
        if len(name.encode()) <= _LONGEST_NAME_BYTES:
            return name
        return f"confiture_{hashlib.sha256(self.schema.encode()).hexdigest()[:40]}"

    @cached_property
    def host(self) -> str:
        """The server that its URL names, with the port."""
        parts = _parse(self.url)
        host = parts.get("hostaddr") or parts.get("host") or ""
        return f"{host.lower().rstrip('.')}:{parts.get('port') or _DEFAULT_PORT}"

    @cached_property
    def place(self) -> str:
        """What tells its database and schema from others, without any secret."""
        parts = _parse(self.url)
        return "\t".join((self.host, parts.get("dbname") or parts.get("user") or "", self.schema or ""))


def _parse(url: str) -> dict[str, str]:
    try:
        return {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except ProgrammingError:
        # With variables in it, it may become a URL only where it is used.
        return {"host": hashlib.sha256(url.encode()).hexdigest()}
