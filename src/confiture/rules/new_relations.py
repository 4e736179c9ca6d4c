"""Tell the relations that a plan creates from those that were there before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from confiture.rules.parse_tree import QualifiedName
from confiture.rules.parsed_migration import ParsedMigration


class PlanScope(Protocol):
    """Says which migrations are judged, and which of them are not merged yet."""

    def includes(self, version: str, file: str | None) -> bool:
        """Return True if a migration is judged."""

    def adds(self, version: str, file: str | None) -> bool:
        """Return True if a migration is judged and new: what it creates is in use nowhere yet."""


def mark_new_relations(migrations: Iterable[ParsedMigration], scope: PlanScope | None) -> None:
    """Set what is new and what was there before each migration of a plan, in order.

    An empty database rehearses every migration. What merged ones create is in use in production, so to the
    migrations that are judged only the relations of other new ones are new.
    """
    earlier, added = frozenset[QualifiedName](), frozenset[QualifiedName]()
    for migration in migrations:
        judged = scope is None or scope.includes(migration.version, migration.file)
        migration.created_before = added if judged else earlier
        migration.there_before = earlier - added if judged else frozenset()
        created = migration.created_relations - migration.created_before
        earlier |= created
        if scope is None or scope.adds(migration.version, migration.file):
            added |= created
