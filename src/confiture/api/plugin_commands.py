"""What a command that a package brings may use: its settings, connections, and schemas compared.

A package brings a command with an entry point of the group ``confiture.commands``: a click command.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from confiture.catalog.compare_schemas import compare_schemas
from confiture.catalog.read_schema import read_objects
from confiture.config.config_file import find_file
from confiture.config.settings import Given, Settings, load_settings
from confiture.config.urls import expand_variables
from confiture.models.schema import ObjectDifference
from confiture.postgres.connect import open_connection


def read_settings(url: str | None = None, env: str | None = None) -> Settings:
    """Return the settings that hold in the working directory; ``plugin_tables`` has those of the plugins.

    Raises:
        ConfitureError: The configuration is not valid.
    """
    return load_settings(Given(url=url, env=env))


@contextmanager
def open_url(settings: Settings, url: str) -> Iterator[Connection[Any]]:
    """Open a connection to ``url`` for the block, in autocommit mode.

    Raises:
        ConnectionFault: The server cannot be reached, or refuses the connection.
    """
    from attrs import evolve

    with open_connection(evolve(settings, url=url, direct_url=None)) as conn:
        yield conn


def find_schema_differences(
    source: Connection[Any], target: Connection[Any], ledger_schema: str
) -> tuple[ObjectDifference, ...]:
    """Return the objects that two databases do not have alike; ``ledger_schema`` is left out.

    Raises:
        LockFault: A table that a view reads is locked.
    """
    return compare_schemas(read_objects(source, ledger_schema), read_objects(target, ledger_schema))


def find_production_url(settings: Settings, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the URL of ``[env.production]``; ``None`` if there is none, or its variables are not set."""
    file = find_file(settings.root) if settings.file else None
    url = (file.table if file else {}).get("env", {}).get("production", {}).get("url")
    try:
        return expand_variables(url, environ) if isinstance(url, str) else None
    except ValueError:
        return None
