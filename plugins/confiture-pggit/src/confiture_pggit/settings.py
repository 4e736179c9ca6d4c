"""Read ``[tool.confiture.plugin.pggit]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from confiture.plugins.kit import COUNT, FLAG, TEXT, open_settings

CONFIG_KEYS = {
    "mirror": "Whether to mirror migrations to pgGit; true if a branch is named.",
    "branch": "The branch of pgGit's that commits are made on; main if not set.",
    "commit": "Whether to make a commit of each migration, if pgGit can; true if not set.",
    "history": "How many changes of each object schema-version shows; 3 if not set.",
}


@frozen
class PgGitSettings:
    """What to mirror.

    Attributes:
        enabled: Whether the plugin does anything.
        branch: The branch that commits are made on.
        commits: Whether to make commits.
        history_rows: How many changes of each object to show.
    """

    enabled: bool
    branch: str
    commits: bool
    history_rows: int


def read_settings(config: Mapping[str, Any]) -> PgGitSettings:
    """Return the settings of the plugin's table.

    Raises:
        PluginSettingsFault: A key is unknown, or its value cannot be used.
    """
    table = open_settings(config, "pggit", CONFIG_KEYS)
    branch = table.get("branch", TEXT, "")
    return PgGitSettings(
        enabled=table.get("mirror", FLAG, bool(branch)),
        branch=branch or "main",
        commits=table.get("commit", FLAG, True),
        history_rows=table.get("history", COUNT, 3),
    )
