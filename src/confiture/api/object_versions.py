"""Ask the configured plugins for the versions of the schema's objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import describe_error
from confiture.models.schema import ObjectVersion
from confiture.sql.quote import quote_ident

_HOOK = "object_versions"


def read_object_versions(
    conn: Connection[Any], settings: Settings
) -> tuple[tuple[ObjectVersion, ...], tuple[str, ...]]:
    """Return the versions that the plugins of the configuration know, and a warning for each that fails.

    Raises:
        PluginFault: A configured plugin is not installed or cannot be used.
    """
    # Reading what is installed takes as long as all the rest of the command.
    if not settings.plugins:
        return (), ()
    from confiture.plugins.find import find_plugins
    from confiture.plugins.load import load_all
    from confiture.plugins.select import select_plugins

    versions: list[ObjectVersion] = []
    warnings: list[str] = []
    for plugin in load_all(select_plugins(find_plugins(), settings.plugins), settings.plugin_tables):
        if _HOOK not in plugin.phases:
            continue
        try:
            # By itself, because each gets its own table of the configuration.
            versions += _call_hook(plugin.plugin, conn, settings.plugin_tables.get(plugin.name, {}))
        except Exception as error:
            warnings.append(f"plugin {plugin.name!r}: no versions of objects: {describe_error(error)}")
    # As in the fingerprint: what confiture itself keeps is left out.
    own = f"{quote_ident(settings.schema)}."
    return tuple(version for version in versions if not version.identity.startswith(own)), tuple(warnings)


def _call_hook(plugin: object, conn: Connection[Any], table: Any) -> Iterable[ObjectVersion]:
    from confiture.hooks import spec

    manager = pluggy.PluginManager("confiture")
    manager.add_hookspecs(spec)
    manager.register(plugin)
    # Rolled back: the command only reads, and a function that a plugin calls may write.
    with conn.transaction(force_rollback=True):
        given = manager.hook.object_versions(conn=conn, config=table)
    found = [version for versions in given for version in versions]
    for version in found:
        if not isinstance(version, ObjectVersion):
            raise TypeError(f"{_HOOK}() returned a {type(version).__name__}, not an ObjectVersion")
    return found
