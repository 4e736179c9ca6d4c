"""Why statistics were not gathered."""

from __future__ import annotations

from collections.abc import Mapping

from confiture.exceptions import ConfigurationFault, UserFault


class Misconfigured(ConfigurationFault, ValueError):
    """The plugin's table of the configuration holds something unusable."""


class NotAnalyzed(UserFault):
    """The migration is committed; the server did not analyze some of what it changed.

    Attributes:
        reasons: What the server said, by relation.
    """

    exit_code = 5

    def __init__(self, reasons: Mapping[str, str]) -> None:
        said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        hint = f"ANALYZE {', '.join(reasons)}; as their owner"
        # Said beside the report as a warning, which shows no hint of its own.
        super().__init__(f"not analyzed: {said} ({hint})", hint=hint)
        self.reasons = dict(reasons)
