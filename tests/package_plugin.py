"""Load a first-party plugin as a run does: by the entry point of its package, with a configuration."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from confiture.config.settings import Settings
from confiture.plugins.find import FoundPlugin
from confiture.plugins.load import LoadedPlugin, load_all
from confiture.plugins.select import PluginSelection


def load_plugin(
    package: Path, config: dict[str, Any], *, url: str, migrations: Path
) -> tuple[Settings, tuple[LoadedPlugin, ...]]:
    """Return settings for a folder of migrations, and the plugin that ``package``'s pyproject.toml names."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ((name, value),) = project["entry-points"]["confiture"].items()
    entry = EntryPoint(name, value, "confiture")
    found = FoundPlugin(name, project["name"], project["version"], value, entry)
    settings = Settings(root=migrations, url=url, migrations=migrations, plugin_tables={name: config})
    return settings, load_all(PluginSelection(used=(found,)), {name: config})
