"""The error that names what the server did not analyze."""

from __future__ import annotations

from collections.abc import Mapping

from confiture.exceptions import UserFault


class NotAnalyzed(UserFault):
    """The migration is committed, and the server did not analyze some of what it changed.

    Attributes:
        reasons: The server's message for each relation.
    """

    exit_code = 5

    def __init__(self, reasons: Mapping[str, str]) -> None:
        messages = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        hint = f"ANALYZE {', '.join(reasons)}; as their owner"
        # It ends as a warning next to the report, and a warning shows no hint.
        super().__init__(f"not analyzed: {messages} ({hint})", hint=hint)
        self.reasons = dict(reasons)
