"""Read the settings of the configuration file, or of one ``[env.NAME]`` in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import Factory, field, frozen

from confiture.config.config_file import ConfigFile, Table, name_table
from confiture.config.fleet_settings import FLEET_KEYS, FleetSettings, read_fleet
from confiture.config.gate_policy import GATE_KEYS, GatePolicy, read_policy
from confiture.config.table_reader import (
    ANY_TEXT,
    COUNT,
    DURATION_S,
    FLAG,
    TABLE,
    TEXT,
    TEXTS,
    TIMEOUT,
    Kind,
    Locate,
    LocatedTable,
    Path,
    TableReader,
    describe,
    read_text,
)

if TYPE_CHECKING:
    from confiture.config.schema_policy import SchemaPolicy

_LONGEST_NAME_BYTES = 63

TOP_LEVEL_PLUGINS = ("anonymize",)
"""Plugins whose table is written without ``plugin.`` before it."""

CORE_KEYS = {
    "url": "The database: a libpq URL or conninfo, or embedded:.",
    "migrations": "The migrations folder.",
    "source": "The convention of the migrations folder: goose, diesel, … as `adopt --from` writes it.",
    "variables": 'What placeholders in migration files stand for: name = "value".',
    "schema": "The schema of confiture's ledger, or the table of what `lint --schema` expects.",
    "plugins": 'The plugins to use: "name" or "name==1.2".',
    "lock_timeout": "How long a statement may wait for a lock.",
    "statement_timeout": "How long a statement may run.",
    "lock_wait": "How long to wait for another run.",
    "lock_retries": "How often a migration is tried again after a lock_timeout.",
    "wait_concurrently": "The lock_timeout of CONCURRENTLY.",
    "allow_out_of_order": "Whether a pending version may be lower than an applied one.",
    "direct_url": "The same database without a transaction pooler.",
    "notify": "The channel on which every event is announced with NOTIFY.",
    "stats": "Production's statistics, in [env.production]: a file of `confiture stats export`, or a URL.",
    "gate": "What a rehearsal is judged by.",
    "fleet": "Which targets a fleet has, and how they are migrated.",
    "plugin": "The plugins' own tables: [plugin.NAME].",
    "anonymize": "The profiles of anonymized copies, which the plugin anonymize reads.",
    "env": "Settings of one environment: [env.NAME], used by --env NAME.",
}


@frozen
class FileSettings:
    """The settings of one table, typed. See :class:`confiture.config.settings.Settings`."""

    url: str | None
    direct_url: str | None
    migrations: str
    source: str | None
    schema: str
    plugins: tuple[str, ...] | None
    lock_timeout: str
    statement_timeout: str | None
    lock_wait_s: float
    lock_retries: int
    wait_concurrently: str
    allow_out_of_order: bool
    notify: str | None
    stats: str | None
    gate: GatePolicy
    schema_policy: SchemaPolicy | None
    fleet: FleetSettings
    plugin_tables: Mapping[str, Mapping[str, Any]] = Factory(dict)
    variables: Mapping[str, str] = field(default=Factory(dict), repr=False)


def _read_name(value: object) -> str:
    name = read_text(value)
    if len(name.encode()) > _LONGEST_NAME_BYTES:
        raise ValueError(f"PostgreSQL's names have at most {_LONGEST_NAME_BYTES} bytes")
    return name


SCHEMA = Kind("the name of a schema", '"confiture"', _read_name)
CHANNEL = Kind("the name of a channel", '"confiture"', _read_name)


def read_file_settings(table: TableReader) -> FileSettings:
    """Return the settings of a table.

    Raises:
        ConfigurationFault: A key is unknown or a value cannot be used; it names file, line and key.
    """
    table.check_keys()
    expected = _open_schema_table(table)
    return FileSettings(
        url=table.get("url", TEXT, None),
        direct_url=table.get("direct_url", TEXT, None),
        migrations=table.get("migrations", TEXT, "migrations"),
        source=table.get("source", TEXT, None),
        schema=expected.get("ledger", SCHEMA, "confiture")
        if expected
        else table.get("schema", SCHEMA, "confiture"),
        plugins=table.get("plugins", TEXTS, None),
        lock_timeout=table.get("lock_timeout", TIMEOUT, "5s"),
        statement_timeout=table.get("statement_timeout", TIMEOUT, None),
        lock_wait_s=table.get("lock_wait", DURATION_S, 30.0),
        lock_retries=table.get("lock_retries", COUNT, 3),
        wait_concurrently=table.get("wait_concurrently", TIMEOUT, "0"),
        allow_out_of_order=table.get("allow_out_of_order", FLAG, False),
        notify=table.get("notify", CHANNEL, None),
        stats=table.get("stats", TEXT, None),
        gate=read_policy(table.get_table("gate", GATE_KEYS)),
        schema_policy=_read_schema_policy(expected) if expected else None,
        fleet=read_fleet(table.get_table("fleet", FLEET_KEYS)),
        plugin_tables=_read_plugin_tables(table),
        variables=table.get_mapping("variables", ANY_TEXT),
    )


def _open_schema_table(table: TableReader) -> TableReader | None:
    """Return the reader of ``[schema]``; ``None`` where ``schema`` is the name of the ledger's schema."""
    if isinstance(table.values.get("schema"), Mapping):
        from confiture.config.schema_policy import SCHEMA_KEYS

        return table.get_table("schema", SCHEMA_KEYS)
    return None


def _read_schema_policy(table: TableReader) -> SchemaPolicy:
    # Imported here, because few commands have such a table, and each class costs time.
    from confiture.config.schema_policy import read_schema_policy

    return read_schema_policy(table)


def _read_plugin_tables(table: TableReader) -> dict[str, Mapping[str, Any]]:
    plugins: dict[str, Mapping[str, Any]] = dict(table.get_mapping("plugin", TABLE))
    locate = table.locate
    if locate is not None:
        plugins = {name: LocatedTable(values, locate) for name, values in plugins.items()}
    for name in TOP_LEVEL_PLUGINS:
        if (values := table.get(name, TABLE, None)) is None:
            continue
        if name in plugins:
            raise table.refuse(name, f"is set here and as plugin.{name}", hint="keep one of the two tables")
        plugins[name] = LocatedTable(values, partial(_locate_top_level, locate)) if locate else values
    return plugins


def _locate_top_level(locate: Locate, path: Path) -> str:
    # The reader of a plugin's table starts its paths with "plugin", which this table has not.
    return locate(path[1:] if path[:1] == ("plugin",) else path)


_SHORTER = "url = …, without a table above it, and [gate] instead of [tool.confiture.gate]"


def check_file(file: ConfigFile) -> None:
    """Refuse every unknown key and unusable value of the file, those of all environments included.

    Raises:
        ConfigurationFault: It names the file, the line and the key.
    """
    if "confiture" in file.table.get("tool", ()):
        # Only pyproject.toml has the tables of several tools.
        raise file.fault("[tool.confiture] is for pyproject.toml", "tool", hint=f"write it so: {_SHORTER}")
    table = TableReader(file.table, CORE_KEYS, locate=file.locate)
    read_file_settings(table)
    for name, values in table.get("env", TABLE, {}).items():
        if not isinstance(values, dict):
            raise file.fault(f"env.{name} must be a table, not {describe(values)}", "env", name)
        if "env" in values:
            raise file.fault("an [env] cannot hold another [env]", "env", name, "env")
        path = ("env", name)
        read_file_settings(TableReader(values, CORE_KEYS, f"env.{name}", locate=file.locate, path=path))
        if name != "production":
            _refuse_stats(file, values, *path)
    _refuse_stats(file, file.table)


def _refuse_stats(file: ConfigFile, table: Table, *path: str) -> None:
    """Refuse ``stats`` anywhere but in ``[env.production]``, the one place it is read from."""
    if "stats" in table:
        place = name_table(file.path, "env", "production")
        raise file.fault("stats has no effect here", *path, "stats", hint=f"write it below {place}")
