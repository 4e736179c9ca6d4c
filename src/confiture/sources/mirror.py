"""Keep another tool's ledger up to date, so that both tools agree during a transition."""

from __future__ import annotations

from attrs import frozen

from confiture.migrations.version import parse_version
from confiture.models.migration import MigrationFile
from confiture.sources.source import Source


@frozen
class ToolMirror:
    """Renders what is to be written to another tool's ledger, in the transaction of our own row.

    Attributes:
        source: The tool's convention.
        table: The quoted name of its table.
        migrations: All migrations, in order.
    """

    source: Source
    table: str
    migrations: tuple[MigrationFile, ...]

    def render_applied(self, version: str) -> str:
        """Return SQL that records a migration as applied; nothing for one without a file."""
        migration, ledger = self._find(version), self.source.ledger
        return ledger.render_applied(self.table, migration, self.migrations) if migration and ledger else ""

    def render_reverted(self, version: str) -> str:
        """Return SQL that removes a migration; nothing for one without a file."""
        migration, ledger = self._find(version), self.source.ledger
        return ledger.render_reverted(self.table, migration, self.migrations) if migration and ledger else ""

    def _find(self, version: str) -> MigrationFile | None:
        key = parse_version(version)
        return next((file for file in self.migrations if parse_version(file.version) == key), None)
