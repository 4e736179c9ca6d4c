"""Configuration file, environment and flags become one frozen ``Settings``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import Factory, frozen


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
    """

    root: Path
    file: Path | None = None
    url: str | None = None
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
    direct_url: str | None = None
