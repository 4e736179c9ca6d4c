"""Configuration file, environment and flags become one frozen ``Settings``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import Factory, field, frozen

from confiture.config.config_file import ConfigFile, Table, check_keys, find_file
from confiture.config.gate_policy import Policy, merged, policy_of
from confiture.config.urls import expand
from confiture.config.urls import safe_url as safe_url
from confiture.exceptions import UsageFault
from confiture.units import seconds

URL_VARIABLES = ("CONFITURE_DATABASE_URL", "DATABASE_URL")


@frozen
class Settings:
    """Everything a command needs to know, resolved.

    Attributes:
        root: The folder of the configuration file, else the working directory.
        file: The configuration file, ``None`` where there is none.
        url: A libpq URL or conninfo, ``"embedded:"``, or ``None``: libpq's ``PG*`` variables.
        migrations: The migrations folder.
        schema: Where confiture keeps what is its own in the target.
        plugins: As configured, ``"name"`` or ``"name==1.2"``; ``None`` where not set.
        plugin_tables: ``[tool.confiture.plugin.NAME]``, by name.
        lock_timeout: As PostgreSQL writes it.
        statement_timeout: The same; ``None``: none.
        lock_wait_s: How long to wait for another run, in seconds.
        lock_retries: How many new attempts after a ``lock_timeout``.
        wait_concurrently: The ``lock_timeout`` of CONCURRENTLY, as PostgreSQL writes it; ``"0"``: none.
        wait_s: How long to wait for a starting server, in seconds.
        allow_out_of_order: Whether a pending version may lie below an applied one.
        direct_url: For what needs a session, where ``url`` is a transaction pooler.
        gate: What a rehearsal is judged by.
    """

    root: Path
    file: Path | None = None
    url: str | None = field(default=None, repr=lambda url: repr(url and safe_url(url)))
    migrations: Path = Path("migrations")
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
    direct_url: str | None = field(default=None, repr=lambda url: repr(url and safe_url(url)))
    gate: Policy = field(default=Policy())


@frozen
class Given:
    """What the flags say; ``None`` where a flag was not given.

    Attributes:
        url: ``--url``.
        migrations: ``--migrations``, relative to the working directory.
        env: ``--env``.
        wait_s: ``--wait``, in seconds.
        lock_wait_s: ``--lock-wait``, in seconds.
        wait_concurrently: ``--wait-concurrently``, as PostgreSQL writes it.
        allow_out_of_order: ``--allow-out-of-order``.
    """

    url: str | None = field(default=None, repr=lambda url: repr(url and safe_url(url)))
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
        ConfigurationFault: The file or the environment holds something unusable.
        UsageFault: A flag does.
    """
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    environ = os.environ if environ is None else environ
    file = find_file(cwd)
    table = _table_for(file, given.env)
    url, direct_url = _urls(file, table, given, environ)
    root = file.path.parent if file else cwd
    return Settings(
        root=root,
        file=file.path if file else None,
        url=url,
        direct_url=direct_url,
        migrations=_migrations(table, given, root, cwd),
        schema=table.get("schema", "confiture"),
        plugins=tuple(table["plugins"]) if "plugins" in table else None,
        plugin_tables=table.get("plugin", {}),
        lock_timeout=str(table.get("lock_timeout", "5s")),
        statement_timeout=str(table["statement_timeout"]) if "statement_timeout" in table else None,
        lock_wait_s=_first(given.lock_wait_s, seconds(str(table.get("lock_wait", 30)))),
        lock_retries=table.get("lock_retries", 3),
        wait_concurrently=_first(given.wait_concurrently, str(table.get("wait_concurrently", "0"))),
        wait_s=_first(given.wait_s, 0.0),
        allow_out_of_order=_first(given.allow_out_of_order, table.get("allow_out_of_order", False)),
        gate=policy_of(table.get("gate", {})),
    )


def _first(flag: Any, otherwise: Any) -> Any:
    return otherwise if flag is None else flag


def _table_for(file: ConfigFile | None, env: str | None) -> Table:
    if file is not None:
        check_keys(file)
    table = file.table if file else {}
    envs = table.get("env", {})
    if env is None:
        return table
    if env not in envs:
        raise _unknown_env(env, file, tuple(envs))
    return _overridden(table, envs[env])


def _unknown_env(env: str, file: ConfigFile | None, known: tuple[str, ...]) -> UsageFault:
    if file is None:
        return UsageFault(
            f"--env {env}: there is no configuration file here or above",
            hint="write one: confiture init",
        )
    those = f"there are {', '.join(known)}" if known else "there are none"
    return UsageFault(f"--env {env}: {file.path.name} has no [env.{env}]; {those}")


def _overridden(table: Table, env: Table) -> Table:
    plugin = dict(table.get("plugin", {}))
    for name, own in env.get("plugin", {}).items():
        plugin[name] = {**plugin.get(name, {}), **own}
    gate = merged(table.get("gate", {}), env.get("gate", {}))
    both = {**table, **env, "plugin": plugin, "gate": gate}
    # A direct_url leads to the database of the url beside it, never to another environment's.
    if "url" in env and "direct_url" not in env:
        both.pop("direct_url", None)
    return both


def _urls(
    file: ConfigFile | None, table: Table, given: Given, environ: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """Return ``url`` and ``direct_url``; the latter only where both lead to the same place."""
    if given.url is not None:
        if not given.url.strip():
            raise UsageFault("--url is empty", hint="leave it out to use the configured one")
        return given.url, None
    from_environment = next((environ[name] for name in URL_VARIABLES if environ.get(name)), None)
    if file is None or (from_environment and not _leads_to(table, from_environment, environ)):
        return from_environment, None
    url = from_environment or _expanded(file, table, "url", given.env, environ)
    return url, None if url == "embedded:" else _expanded(file, table, "direct_url", given.env, environ)


def _leads_to(table: Table, url: str, environ: Mapping[str, str]) -> bool:
    """Return whether the file's own ``url``, where it has one, is ``url``."""
    try:
        return expand(table.get("url", url), environ) == url
    except ValueError:
        return False


def _expanded(
    file: ConfigFile, table: Table, key: str, env: str | None, environ: Mapping[str, str]
) -> str | None:
    if key not in table:
        return None
    where = ("env", env, key) if env and key in file.table["env"][env] else (key,)
    try:
        text = expand(table[key], environ)
    except ValueError as error:
        hint = "set it, or give --url" if key == "url" else "set it, or take direct_url away"
        raise file.fault(f"{key}: {error}", *where, hint=hint) from None
    if not text.strip():
        raise file.fault(f"{key} is empty once its variables are expanded", *where)
    return text


def _migrations(table: Table, given: Given, root: Path, cwd: Path) -> Path:
    if given.migrations is not None:
        if not given.migrations or "\0" in given.migrations:
            raise UsageFault("--migrations is empty", hint="name the folder")
        return cwd / given.migrations
    return root / str(table.get("migrations", "migrations"))
