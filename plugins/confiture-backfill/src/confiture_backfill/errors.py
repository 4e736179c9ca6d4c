"""The errors with which a backfill stops a migration."""

from __future__ import annotations

from confiture.exceptions import UserFault
from confiture.plugins.kit import format_count

_HINT_ONE_PIECE = (
    "compare the INSERT with the count query; if other sessions write at the same time, put "
    "`LOCK TABLE … IN SHARE MODE;` on the write tables before the INSERT"
)
_HINT_BATCHES = (
    "compare the INSERT with the count query; a trigger or the application must copy to the read model what "
    "sessions have written since the first batch; the next run fills it from the beginning"
)


class BackfillFailed(UserFault):
    """The server refused the SQL that fills a read model.

    Attributes:
        sqlstate: The server's code.
    """

    exit_code = 5

    def __init__(self, message: str, *, sqlstate: str | None, hint: str | None) -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate


class IncompleteBackfill(UserFault):
    """The table does not hold as many rows as the count query says.

    Attributes:
        table: The read model.
        expected: The number that the count query returns.
        found: The rows in the table.
    """

    exit_code = 5

    def __init__(self, table: str, *, expected: int, found: int, in_batches: bool = False) -> None:
        super().__init__(
            f"the backfill of {table} is incomplete: its count query says {format_count(expected, 'row')}, "
            f"the table holds {found:,}",
            hint=_HINT_BATCHES if in_batches else _HINT_ONE_PIECE,
        )
        self.table, self.expected, self.found = table, expected, found
