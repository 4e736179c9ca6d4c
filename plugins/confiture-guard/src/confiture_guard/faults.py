"""Why a migration was not let through."""

from __future__ import annotations

from confiture.exceptions import ConfigurationFault, ConfitureError


class Misconfigured(ConfigurationFault, ValueError):
    """The plugin's table holds something unusable."""


class Refused(ConfitureError):
    """Not here, not now, or not while that session is at work."""

    exit_code = 5
