"""The errors of a backfill: each stops the migration with exit code 5."""

from __future__ import annotations

from confiture.exceptions import UserFault

_WRITTEN_MEANWHILE = (
    "compare the INSERT with the count query; if sessions write at the same time, put "
    "`LOCK TABLE … IN SHARE MODE;` on the write tables before the INSERT"
)
_WRITTEN_BESIDE = (
    "compare the INSERT with the count query; what sessions write since the first batch, a trigger or the "
    "application must bring into the read model; the next run fills it from the beginning"
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
        expected: What the count query says.
        found: The rows in the table.
    """

    exit_code = 5

    def __init__(self, table: str, *, expected: int, found: int, in_batches: bool = False) -> None:
        super().__init__(
            f"the backfill of {table} is incomplete: its count query says {expected} rows, "
            f"the table holds {found}",
            hint=_WRITTEN_BESIDE if in_batches else _WRITTEN_MEANWHILE,
        )
        self.table, self.expected, self.found = table, expected, found
