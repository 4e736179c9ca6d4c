"""The hooks: refuse a column that a migration adds, that may be personal, and that no profile classifies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from confiture import HookContext, HookResult, hookimpl
from confiture_anonymize.errors import UnfinishedCopyFault

if TYPE_CHECKING:
    from psycopg import Connection

_LEDGER_SCHEMA = "confiture"


@frozen
class PersonalDataGate:
    """Compares the columns that a migration adds with the profiles, and refuses an unfinished copy.

    Attributes:
        config_keys: What its table of settings may hold.
    """

    config_keys: ClassVar[dict[str, str]] = {
        "profiles": "The profiles of anonymized copies, by name: [anonymize.profiles.NAME]."
    }

    @hookimpl
    def before_validation(self, conn: Connection[Any]) -> None:
        """Refuse to migrate a database that holds an unfinished copy.

        Raises:
            UnfinishedCopyFault: It does.
        """
        from confiture_anonymize.copy_record import RecordTable

        record = RecordTable(conn, _LEDGER_SCHEMA).read()
        if record is not None and not record.finished:
            raise UnfinishedCopyFault(record.profile)

    @hookimpl
    def before_ddl(self, conn: Connection[Any], context: HookContext) -> None:
        """Remember which columns there are."""
        if context.direction == "forward" and context.config.get("profiles"):
            from confiture_anonymize.source_schema import read_tables

            tables = read_tables(conn, _LEDGER_SCHEMA)
            context.data[context.data.writer or "anonymize"] = frozenset(
                (*table.identity, column.name, column.type) for table in tables for column in table.columns
            )

    @hookimpl
    def after_ddl(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Refuse a new personal column that nobody has classified.

        Raises:
            UnclassifiedFault: There is one; it has the line to add.
        """
        known = context.data.get(context.data.writer or "anonymize")
        if context.direction != "forward" or known is None:
            return None
        from confiture_anonymize.copy_plan import list_unclassified, refuse_unclassified
        from confiture_anonymize.read_profile import read_profiles
        from confiture_anonymize.source_schema import read_tables

        tables = read_tables(conn, _LEDGER_SCHEMA)
        for profile in read_profiles(context.config):
            unclassified = [
                (table, column)
                for table, column in list_unclassified(tables, profile)
                if (*table.identity, column.name, column.type) not in known
            ]
            if unclassified:
                raise refuse_unclassified(unclassified, profile.name)
        return None
