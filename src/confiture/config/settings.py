"""Resolve flags, environment variables and the configuration file into one frozen ``Settings``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import Factory, field, frozen

from confiture.config.config_file import ConfigFile, Table, find_file, name_table
from confiture.config.file_settings import CORE_KEYS, check_file, read_file_settings
from confiture.config.fleet_settings import FleetSettings
from confiture.config.gate_policy import GatePolicy, merge_gate
from confiture.config.table_reader import TableReader
from confiture.config.urls import EMBEDDED_URL, expand_variables
from confiture.config.urls import mask_password as mask_password
from confiture.exceptions import UsageFault

if TYPE_CHECKING:
    from confiture.config.schema_policy import SchemaPolicy

T = TypeVar("T")
URL_VARIABLES = ("CONFITURE_DATABASE_URL", "DATABASE_URL")


@frozen
class Settings:
    """Everything a command needs to know, resolved.

    Attributes:
        root: The folder of the configuration file, or the working directory if there is no file.
        file: The configuration file, ``None`` if there is none.
        url: A libpq URL or conninfo, ``"embedded:"``, or ``None``: libpq's ``PG*`` variables.
        migrations: The migrations folder.
        source: The convention of that folder; ``None`` for what ``adopt`` recorded in the database, or else
            the plain one.
        variables: What placeholders in migration files stand for, by name.
        sorting: ``"number"`` or ``"text"`` if ``adopt`` recorded that versions sort so, against the
            convention; else ``None``.
        schema: The schema of the target in which confiture keeps its ledger.
        plugins: As configured, ``"name"`` or ``"name==1.2"``; ``None`` if not set.
        plugin_tables: ``[tool.confiture.plugin.NAME]``, by name.
        lock_timeout: As PostgreSQL writes it.
        statement_timeout: The same; ``None``: none.
        lock_wait_s: How long to wait for another run, in seconds.
        lock_retries: How often a migration is tried again after a ``lock_timeout``.
        wait_concurrently: The ``lock_timeout`` of CONCURRENTLY, as PostgreSQL writes it; ``"0"``: none.
        wait_s: How long to wait for a server that is starting, in seconds.
        allow_out_of_order: Whether a pending version may be lower than an applied one.
        direct_url: Used for what needs a session, if ``url`` is a transaction pooler.
        notify: The channel on which every event is announced; ``None``: none.
        gate: What a rehearsal is judged by.
        schema_policy: What ``lint --schema`` expects; ``None`` if the file has no such table.
        tenant: The one schema that a run is about, in a database of several tenants; ``None`` for all.
        fleet: Which targets a fleet has, and how they are migrated.
        production_stats: ``stats`` of ``[env.production]`` as written: a URL, or a file relative to ``root``.
            Its variables are expanded when it is used: other commands do not need them.
    """

    root: Path
    file: Path | None = None
    url: str | None = field(default=None, repr=lambda url: repr(url and mask_password(url)))
    migrations: Path = Path("migrations")
    source: str | None = None
    variables: Mapping[str, str] = field(default=Factory(dict), repr=False)
    sorting: str | None = None
    schema: str = "confiture"
    plugins: tuple[str, ...] | None = None
    plugin_tables: Mapping[str, Mapping[str, Any]] = Factory(dict)
    lock_timeout: str = "5s"
    statement_timeout: str | None = None
    lock_wait_s: float = 30.0
    lock_retries: int = 3
    wait_concurrently: str = "0"
    wait_s: float = 0.0
    allow_out_of_order: bool = False
    direct_url: str | None = field(default=None, repr=lambda url: repr(url and mask_password(url)))
    notify: str | None = None
    gate: GatePolicy = field(default=GatePolicy())
    schema_policy: SchemaPolicy | None = None
    tenant: str | None = None
    fleet: FleetSettings = field(default=FleetSettings())
    production_stats: str | None = field(
        default=None, repr=lambda stats: repr(stats and mask_password(stats))
    )


@frozen
class Given:
    """The values of the flags; ``None`` if a flag was not given.

    Attributes:
        url: ``--url``.
        migrations: ``--migrations``, relative to the working directory.
        env: ``--env``.
        wait_s: ``--wait``, in seconds.
        lock_wait_s: ``--lock-wait``, in seconds.
        wait_concurrently: ``--wait-concurrently``, as PostgreSQL writes it.
        allow_out_of_order: ``--allow-out-of-order``.
    """

    url: str | None = field(default=None, repr=lambda url: repr(url and mask_password(url)))
    migrations: str | None = None
    env: str | None = None
    wait_s: float | None = None
    lock_wait_s: float | None = None
    wait_concurrently: str | None = None
    allow_out_of_order: bool | None = None


def load_settings(
    given: Given = Given(),
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Resolve flags, environment and configuration file, in this order.

    Raises:
        ConfigurationFault: A value of the file or of the environment cannot be used.
        UsageFault: A flag cannot.
    """
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    environ = os.environ if environ is None else environ
    file = find_file(cwd)
    if file is not None:
        check_file(file)
    table = _select_env(file, given.env)
    url, direct_url = _resolve_urls(file, table, given, environ)
    root = file.path.parent if file else cwd
    locate = partial(file.locate, env=given.env) if file else None
    read = read_file_settings(TableReader(table, CORE_KEYS, locate=locate))
    return Settings(
        root=root,
        file=file.path if file else None,
        url=url,
        direct_url=direct_url,
        migrations=_resolve_migrations(read.migrations, given, root, cwd),
        source=read.source,
        variables=_expand_values(file, read.variables, given.env, environ),
        schema=read.schema,
        plugins=read.plugins,
        plugin_tables=read.plugin_tables,
        lock_timeout=read.lock_timeout,
        statement_timeout=read.statement_timeout,
        lock_wait_s=_prefer(given.lock_wait_s, read.lock_wait_s),
        lock_retries=read.lock_retries,
        wait_concurrently=_prefer(given.wait_concurrently, read.wait_concurrently),
        wait_s=_prefer(given.wait_s, 0.0),
        allow_out_of_order=_prefer(given.allow_out_of_order, read.allow_out_of_order),
        notify=read.notify,
        gate=read.gate,
        schema_policy=read.schema_policy,
        fleet=read.fleet,
        # Whatever --env is: rehearsals run elsewhere than in production.
        production_stats=(file.table if file else {}).get("env", {}).get("production", {}).get("stats"),
    )


def _prefer(flag: T | None, configured: T) -> T:
    return configured if flag is None else flag


def _select_env(file: ConfigFile | None, env: str | None) -> Table:
    table = file.table if file else {}
    envs = table.get("env", {})
    if env is None:
        return table
    if env not in envs:
        raise _refuse_env(env, file, tuple(envs))
    return _override(table, envs[env])


def _refuse_env(env: str, file: ConfigFile | None, known: tuple[str, ...]) -> UsageFault:
    if file is None:
        return UsageFault(
            f"--env {env}: there is no configuration file here or above",
            hint="create one: confiture init",
        )
    those = f"it has {', '.join(known)}" if known else "it has no [env] at all"
    hint = f"write {name_table(file.path, 'env', env)}, or choose another --env"
    return UsageFault(f"--env {env}: {file.path.name} has no [env.{env}]; {those}", hint=hint)


def _override(table: Table, env: Table) -> Table:
    plugin = dict(table.get("plugin", {}))
    for name, overrides in env.get("plugin", {}).items():
        plugin[name] = {**plugin.get(name, {}), **overrides}
    gate = merge_gate(table.get("gate", {}), env.get("gate", {}))
    merged = {**table, **env, "plugin": plugin, "gate": gate}
    if "schema" in env and "schema" in table:
        # Imported here and where the table is read: few commands need its classes.
        from confiture.config.schema_policy import merge_schema

        merged["schema"] = merge_schema(table["schema"], env["schema"])
    # A direct_url belongs to the url it is written with. Kept beside an environment's own url, it would
    # lead to another environment's database.
    if "url" in env and "direct_url" not in env:
        merged.pop("direct_url", None)
    return merged


def _resolve_urls(
    file: ConfigFile | None, table: Table, given: Given, environ: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """Return ``url`` and ``direct_url``; the latter only if both lead to the same database."""
    if given.url is not None:
        if not given.url.strip():
            raise UsageFault("--url is empty", hint="leave it out to use the configured url")
        return given.url, None
    from_environment = next((environ[name] for name in URL_VARIABLES if environ.get(name)), None)
    if file is None or (from_environment and not _is_file_url(table, from_environment, environ)):
        return from_environment, None
    url = from_environment or _expand_key(file, table, "url", given.env, environ)
    return url, None if url == EMBEDDED_URL else _expand_key(file, table, "direct_url", given.env, environ)


def _is_file_url(table: Table, url: str, environ: Mapping[str, str]) -> bool:
    """Return whether ``url`` is the file's own, or the file has none."""
    try:
        return expand_variables(table.get("url", url), environ) == url
    except ValueError:
        return False


def _expand_key(
    file: ConfigFile, table: Table, key: str, env: str | None, environ: Mapping[str, str]
) -> str | None:
    if key not in table:
        return None
    where = ("env", env, key) if env and key in file.table["env"][env] else (key,)
    try:
        text = expand_variables(table[key], environ)
    except ValueError as error:
        hint = "set it, or give --url" if key == "url" else "set it, or remove direct_url"
        raise file.fault(f"{key}: {error}", *where, hint=hint) from None
    if not text.strip():
        raise file.fault(f"{key} is empty once its variables are expanded", *where)
    return text


def _expand_values(
    file: ConfigFile | None, values: Mapping[str, str], env: str | None, environ: Mapping[str, str]
) -> dict[str, str]:
    expanded = {}
    for name, value in values.items():
        try:
            expanded[name] = expand_variables(value, environ)
        except ValueError as error:
            assert file is not None
            where = (
                ("env", env, "variables", name)
                if env and "variables" in file.table["env"][env]
                else ("variables", name)
            )
            raise file.fault(f"variables.{name}: {error}", *where) from None
    return expanded


def _resolve_migrations(configured: str, given: Given, root: Path, cwd: Path) -> Path:
    """Return the folder: a flag is relative to the working directory, a setting to its file."""
    if given.migrations is None:
        return root / configured
    if not given.migrations or "\0" in given.migrations:
        raise UsageFault("--migrations is empty", hint="name the folder")
    return cwd / given.migrations
