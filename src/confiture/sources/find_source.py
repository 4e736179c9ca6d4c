"""Find a source by its name: a built-in one, or one of a plugin that the configuration uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from confiture.config.settings import Settings
from confiture.did_you_mean import did_you_mean
from confiture.exceptions import PluginFault, UsageFault
from confiture.plugins.load import LoadedPlugin
from confiture.sources.source import Source

# Modules, not values: a command imports only the convention that it needs.
_BUILTIN = {
    "plain": "plain",
    "alembic": "alembic",
    "dbmate": "dbmate",
    "drizzle": "drizzle",
    "flyway": "flyway",
    "golang-migrate": "golang_migrate",
    "diesel": "diesel",
    "django": "django",
    "yoyo": "yoyo",
    "prisma": "prisma",
    "sqitch": "sqitch",
    "goose": "goose",
    "node-pg-migrate": "node_pg_migrate",
    "sqlx": "sqlx",
    "supabase": "supabase",
    "liquibase": "liquibase",
}


def list_names() -> tuple[str, ...]:
    """Return the names of the built-in sources."""
    return tuple(_BUILTIN)


def find_source(settings: Settings, name: str) -> Source:
    """Return the source of this name.

    Raises:
        UsageFault: No source has that name.
        PluginFault: A configured plugin cannot be used.
    """
    if name in _BUILTIN:
        return _load_builtin(name)
    added = {source.name: source for source in _find_plugin_sources(settings)}
    if name in added:
        return added[name]
    near = did_you_mean(name, (*_BUILTIN, *added))
    raise UsageFault(
        f"there is no source {name!r}",
        hint=near or f"the sources are {', '.join((*_BUILTIN, *added))}",
    )


def list_sources(settings: Settings) -> tuple[Source, ...]:
    """Return all sources: the built-in ones, then those of the configured plugins.

    Raises:
        PluginFault: A configured plugin cannot be used.
    """
    return (*map(_load_builtin, _BUILTIN), *_find_plugin_sources(settings))


def _load_builtin(name: str) -> Source:
    source: Source = import_module(f"confiture.sources.{_BUILTIN[name]}").build_source()
    return source


def _find_plugin_sources(settings: Settings) -> tuple[Source, ...]:
    if not settings.plugins:
        return ()
    from confiture.plugins.find import find_plugins
    from confiture.plugins.load import join_faults, load_all
    from confiture.plugins.select import select_plugins

    loaded = load_all(select_plugins(find_plugins(), settings.plugins), settings.plugin_tables)
    sources, faults = collect_sources(loaded)
    if faults:
        raise PluginFault(join_faults(faults), hint="fix the plugin, or remove it from plugins")
    return sources


def collect_sources(plugins: Iterable[LoadedPlugin]) -> tuple[tuple[Source, ...], list[str]]:
    """Return the sources of plugins that can be used, and a sentence for each fault of one."""
    from confiture.plugins.ask_plugin import ask_plugin

    found: dict[str, Source] = {}
    faults: list[str] = []
    for plugin in plugins:
        given, wrong = ask_plugin(plugin, "sources")
        faults += wrong
        for source in given:
            if unusable := tuple(_find_source_faults(source, found)):
                faults += (f"plugin {plugin.name!r}: {fault}" for fault in unusable)
            else:
                found[source.name] = source
    return tuple(found.values()), faults


def _find_source_faults(source: Any, found: dict[str, Source]) -> Iterator[str]:
    if not isinstance(source, Source):
        yield (
            f"sources() returns a {type(source).__name__} among its sources, "
            "not a confiture.sources.source.Source"
        )
    elif source.name in _BUILTIN or source.name in found:
        yield f"the source {source.name!r} exists already"
