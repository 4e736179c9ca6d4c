"""The errors with which a check stops a migration."""

from __future__ import annotations

from confiture.exceptions import UserFault
from confiture.plugins.kit import format_count


class CheckRefused(UserFault):
    """The server refused the SQL of a check.

    Attributes:
        sqlstate: The server's code.
    """

    exit_code = 5

    def __init__(self, message: str, *, sqlstate: str | None, hint: str | None) -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate


class PreconditionFailed(UserFault):
    """The database is not as the migration requires it.

    Attributes:
        unmet: A sentence for each precondition that is not met.
    """

    exit_code = 5

    def __init__(self, unmet: tuple[str, ...], *, hint: str) -> None:
        heading = f"{len(unmet)} preconditions are not met:"
        super().__init__("\n  ".join(unmet if len(unmet) == 1 else (heading, *unmet)), hint=hint)
        self.unmet = unmet


class ConstraintNotValid(UserFault):
    """A constraint of a table that the migration changed is NOT VALID.

    Attributes:
        constraints: Their names, ``public.orders.total_is_positive``.
    """

    exit_code = 5

    def __init__(self, message: str, *, constraints: tuple[str, ...], hint: str) -> None:
        super().__init__(message, hint=hint)
        self.constraints = constraints


class CheckFailed(UserFault):
    """A query that must return no rows returned some."""

    exit_code = 5


class CountMismatch(UserFault):
    """Source and target differ by more rows than allowed.

    Attributes:
        name: The name of the comparison.
        source: Rows of the source.
        target: Rows of the target.
    """

    exit_code = 5

    def __init__(self, name: str, *, source: int, target: int, difference: int) -> None:
        allowed = f", {difference} are allowed" if difference else ""
        super().__init__(
            f"counts {name}: the source has {format_count(source, 'row')}, the target {target:,}: "
            f"they differ by {abs(source - target)}{allowed}",
            hint=f"run the two queries of plugin.checks.counts.{name} to see which rows are missing",
        )
        self.name, self.source, self.target = name, source, target
