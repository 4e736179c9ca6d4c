"""The flags that several commands share, and the one value they become."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from attrs import fields, frozen

from confiture.config.settings import Given
from confiture.exceptions import UsageFault
from confiture.output import FORMATS, LISTING_FORMATS
from confiture.units import parse_milliseconds, parse_seconds

CommandFunction = Callable[..., Any]


ALL_INSTALLED = "*"
"""``--plugins`` without names."""


@frozen
class Flags:
    """The values of the flags that commands share.

    Attributes:
        to: ``--to``.
        plugins: ``--plugins``: names, ``ALL_INSTALLED`` without names, ``None`` if not given.
        no_plugins: ``--no-plugins``.
        locked: ``--locked``.
        output: ``--output``, each as written.
        verbose: ``-v``.
        quiet: ``-q``.
    """

    url: str | None = None
    migrations: str | None = None
    env: str | None = None
    wait: float | None = None
    lock_wait: float | None = None
    wait_concurrently: str | None = None
    allow_out_of_order: bool | None = None
    to: str | None = None
    plugins: str | None = None
    no_plugins: bool = False
    locked: bool = False
    output: tuple[str, ...] = ()
    verbose: bool = False
    quiet: bool = False

    @property
    def given(self) -> Given:
        """The part of them that the settings are made of."""
        return Given(
            url=self.url,
            migrations=self.migrations,
            env=self.env,
            wait_s=self.wait,
            lock_wait_s=self.lock_wait,
            wait_concurrently=self.wait_concurrently,
            allow_out_of_order=self.allow_out_of_order,
        )


def _parse_seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return the seconds of a time; a bare number is seconds."""
    try:
        return None if value is None else parse_seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _check_postgres_time(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Return a time as PostgreSQL writes it, unchanged."""
    try:
        if value is not None:
            parse_milliseconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def _set_log_format(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    """Choose how log lines are written; before anything is said."""
    from confiture.logs import set_format

    set_format(value or "text")


def _check_listing_format(
    _ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse a format that is for reports of runs only."""
    for wanted in value:
        if (format := wanted.partition("=")[0]) not in LISTING_FORMATS:
            only = "is for reports of runs and rehearsals" if format in FORMATS else "does not exist"
            raise UsageFault(
                f"--output {wanted}: the format {format!r} {only}",
                hint=f"the formats here are {', '.join(LISTING_FORMATS)}",
            )
    return value


_OUTPUT = click.option(
    "--output",
    multiple=True,
    metavar="FORMAT[=FILE]",
    callback=_check_listing_format,
    help="Report as text, json or html, to stdout or a file; repeatable.",
)
_REPORT = click.option(
    "--output",
    multiple=True,
    metavar="FORMAT[=FILE]",
    help=f"Report as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, to stdout or a file; repeatable.",
)
_VERBOSE = click.option("-v", "--verbose", is_flag=True, help="Log what happens.")
_QUIET = click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
_LOG_FORMAT = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    callback=_set_log_format,
    expose_value=False,
    is_eager=True,
    help="Write stderr as text, or as one JSON object per line.",
)
_ENV = click.option("--env", metavar="NAME", help="Use the [env.NAME] table of the configuration.")
_MIGRATIONS = click.option("--migrations", metavar="DIR", help="The folder of the migrations.")
_DATABASE = (
    click.option("--url", metavar="URL", help="The database; `embedded:` brings its own server."),
    _MIGRATIONS,
    _ENV,
    click.option(
        "--wait",
        callback=_parse_seconds,
        metavar="SECONDS",
        help="Wait this long for a server that is starting.",
    ),
    _LOG_FORMAT,
)
_NO_PLUGINS = click.option("--no-plugins", is_flag=True, help="Use no plugins.")
_PLUGINS = (
    click.option(
        "--plugins",
        is_flag=False,
        flag_value=ALL_INSTALLED,
        default=None,
        metavar="[A,B]",
        help="Use these plugins, in this order; without names, all installed plugins.",
    ),
    _NO_PLUGINS,
    click.option("--locked", is_flag=True, help="Refuse plugins other than those pinned."),
)
_ORDER = click.option(
    "--allow-out-of-order", is_flag=True, default=None, help="Apply a pending version below an applied one."
)
_TO = click.option("--to", metavar="V", help="Stop after this version.")
_DOWN_TO = click.option("--to", metavar="V", help="Undo every migration after this version.")
_LOCK_WAIT = click.option(
    "--lock-wait",
    callback=_parse_seconds,
    metavar="SECONDS",
    help="Wait this long for the migration lock (30).",
)
_LOCK = (
    _LOCK_WAIT,
    click.option(
        "--wait-concurrently",
        callback=_check_postgres_time,
        metavar="TIME",
        help="How long CONCURRENTLY may wait for old transactions.",
    ),
)


def _add_options(
    *options: Callable[[CommandFunction], CommandFunction],
) -> Callable[[CommandFunction], CommandFunction]:
    """Return a decorator that adds ``options``, and hands them over as one ``Flags``."""

    def decorate(function: CommandFunction) -> CommandFunction:
        @wraps(function)
        def with_flags(**parameters: Any) -> Any:
            shared = {name: parameters.pop(name) for name in _FLAG_NAMES & parameters.keys()}
            return function(Flags(**shared), **parameters)

        decorated: CommandFunction = with_flags
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


_FLAG_NAMES = {field.name for field in fields(Flags)}
local_options = _add_options(_MIGRATIONS, _ENV)
plugin_options = _add_options(_ENV, *_PLUGINS, _OUTPUT, _VERBOSE, _QUIET)
lint_options = _add_options(_MIGRATIONS, _ENV, *_PLUGINS, _REPORT, _LOG_FORMAT, _VERBOSE, _QUIET)
database_options = _add_options(*_DATABASE, _OUTPUT, _VERBOSE, _QUIET)
verify_options = _add_options(*_DATABASE, _NO_PLUGINS, _OUTPUT, _VERBOSE, _QUIET)
ledger_options = _add_options(*_DATABASE, _LOCK_WAIT, _OUTPUT, _VERBOSE, _QUIET)
plan_options = _add_options(*_DATABASE, _TO, *_PLUGINS, _ORDER, _OUTPUT, _VERBOSE, _QUIET)
run_options = _add_options(*_DATABASE, _TO, *_PLUGINS, *_LOCK, _ORDER, _REPORT, _VERBOSE, _QUIET)
redo_options = _add_options(*_DATABASE, *_PLUGINS, *_LOCK, _ORDER, _REPORT, _VERBOSE, _QUIET)
down_options = _add_options(*_DATABASE, _DOWN_TO, *_PLUGINS, *_LOCK, _ORDER, _REPORT, _VERBOSE, _QUIET)
