"""Define what a fleet consists of: databases, or schemas of one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from attrs import Factory, field, frozen

from confiture.config.settings import mask_password

_LONGEST_NAME_BYTES = 63


@frozen
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
