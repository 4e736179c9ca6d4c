"""The error of an ANALYZE that the server refused."""

from __future__ import annotations

from collections.abc import Mapping

from confiture.exceptions import UserFault


class NotAnalyzed(UserFault):
    """The migration is committed; the server did not analyze some of what it changed.

    Attributes:
        reasons: What the server said, by relation.
    """

    exit_code = 5

    def __init__(self, reasons: Mapping[str, str]) -> None:
        message = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        hint = f"ANALYZE {', '.join(reasons)}; as their owner"
        # The report shows it as a warning, and a warning has no hint: hence the hint in the message.
        super().__init__(f"not analyzed: {message} ({hint})", hint=hint)
        self.reasons = dict(reasons)
