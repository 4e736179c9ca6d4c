"""What a plugin imports for its settings, its files and its SQL; documented in docs/writing-plugins.md.

A plugin imports ``confiture``, ``confiture.core``, ``confiture.exceptions``, ``confiture.models``,
``confiture.rules.rule``, ``confiture.output.reporters``, ``confiture.testing`` and this module. All else
may be moved or renamed without notice.
"""

from __future__ import annotations

from confiture.config.table_reader import (
    COUNT,
    DURATION_MS,
    FLAG,
    POSITIVE,
    TEXT,
    TEXTS,
    TIMEOUT,
    Kind,
    TableReader,
    make_choice,
)
from confiture.did_you_mean import did_you_mean
from confiture.plugins.plugin_settings import PluginSettingsFault, names_migration, open_settings
from confiture.plugins.sidecar import Sidecar, find_sidecar
from confiture.plugins.sql_text import SqlStatement, SqlSyntaxError, line_and_column, parse_statements
from confiture.units import format_count

__all__ = [
    "COUNT",
    "DURATION_MS",
    "FLAG",
    "POSITIVE",
    "TEXT",
    "TEXTS",
    "TIMEOUT",
    "Kind",
    "PluginSettingsFault",
    "Sidecar",
    "SqlStatement",
    "SqlSyntaxError",
    "TableReader",
    "did_you_mean",
    "find_sidecar",
    "format_count",
    "line_and_column",
    "make_choice",
    "names_migration",
    "open_settings",
    "parse_statements",
]
