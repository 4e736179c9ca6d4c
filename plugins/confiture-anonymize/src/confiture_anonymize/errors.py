"""The errors with which a copy is refused."""

from __future__ import annotations

from confiture.exceptions import ConfigurationFault, UserFault


class ProfileFault(ConfigurationFault):
    """A profile, or what it is applied to, cannot be used; nothing was copied."""

    exit_code = 2


class UnclassifiedFault(UserFault):
    """A column may hold personal data, and nobody has said what becomes of it.

    Attributes:
        columns: Their names, ``public.w_customers.email``.
    """

    exit_code = 5

    def __init__(self, message: str, *, columns: tuple[str, ...], hint: str) -> None:
        super().__init__(message, hint=hint)
        self.columns = columns


class TargetFault(UserFault):
    """The target must not be written to: production, the source, or a copy that is not finished."""

    exit_code = 2


class UnfinishedCopyFault(UserFault):
    """The database holds an anonymized copy that is not finished, so it is not to be used."""

    exit_code = 5

    def __init__(self, profile: str) -> None:
        super().__init__(
            f"this database holds an unfinished anonymized copy of profile {profile!r}",
            hint="continue with `confiture anonymize --resume`, or empty it with --drop",
        )


class CopyFault(UserFault):
    """A copy failed half-way: it is marked unfinished, and can be resumed or dropped."""

    exit_code = 4
