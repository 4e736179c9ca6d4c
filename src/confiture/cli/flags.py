"""Define the flags that several commands share, and the value that holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial, wraps
from typing import Any

import click
from attrs import fields, frozen

from confiture.config.settings import Given
from confiture.exceptions import UsageFault
from confiture.output import FORMATS, LISTING_FORMATS
from confiture.postgres.wait_notice import show_waits
from confiture.units import check_timeout, parse_seconds

CommandFunction = Callable[..., Any]


ALL_INSTALLED = "*"
"""``--plugins`` without names."""


@frozen
class Flags(Given):
    """The values of the shared flags: those of ``Given``, from which settings are made, and these.

    Attributes:
        to: ``--to``.
        plugins: ``--plugins``: names, ``ALL_INSTALLED`` without names, ``None`` if not given.
        no_plugins: ``--no-plugins``.
        locked: ``--locked``.
        output: ``--output``, every value as written.
        verbose: ``-v``.
        quiet: ``-q``.
    """

    to: str | None = None
    plugins: str | None = None
    no_plugins: bool = False
    locked: bool = False
    output: tuple[str, ...] = ()
    verbose: bool = False
    quiet: bool = False


def parse_seconds_option(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return a time in seconds; a number without a unit is in seconds."""
    try:
        return None if value is None else parse_seconds(value, bare_unit="s")
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _check_postgres_time(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Return a time in PostgreSQL's notation unchanged, once it is checked."""
    try:
        return None if value is None else check_timeout(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _set_log_format(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    """Set the log format; the flag is eager, so that errors in other flags use it too."""
    from confiture.logs import set_format

    set_format(value or "text")


def _check_listing_format(
    _ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse a format that only reports of runs have."""
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
_VERBOSE = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Log what happens; show all migrations, SQL of a plan, server notices.",
)
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
        "wait_s",
        callback=parse_seconds_option,
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
    "lock_wait_s",
    callback=parse_seconds_option,
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


def collect_options(
    kind: type, keyword: str, *options: Callable[[CommandFunction], CommandFunction]
) -> Callable[[CommandFunction], CommandFunction]:
    """Return a decorator that adds ``options`` to a command and passes their values as one value.

    Args:
        kind: The frozen class of that value; its attributes have the names of the options' parameters.
        keyword: The command's parameter that gets the value.
        options: The options, in the order of ``--help``.
    """
    names = {field.name for field in fields(kind)}

    def decorate(function: CommandFunction) -> CommandFunction:
        @wraps(function)
        def with_options(**parameters: Any) -> Any:
            values = {name: parameters.pop(name) for name in names & parameters.keys()}
            # With --quiet, nothing is said while a command waits.
            with show_waits(lambda _text: None) if values.get("quiet") else nullcontext():
                return function(**parameters, **{keyword: kind(**values)})

        decorated: CommandFunction = with_options
        # click lists the option that was added last first.
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def find_given(values: Mapping[str, object]) -> str | None:
    """Return the first flag with a value; ``None`` if no flag was given."""
    return next((flag for flag, value in values.items() if value), None)


_add_options = partial(collect_options, Flags, "flags")
local_options = _add_options(_MIGRATIONS, _ENV)
plugin_options = _add_options(_ENV, *_PLUGINS, _OUTPUT, _VERBOSE, _QUIET)
finding_options = _add_options(_ENV, _REPORT, _VERBOSE, _QUIET)
lint_options = _add_options(*_DATABASE, *_PLUGINS, _REPORT, _VERBOSE, _QUIET)
database_options = _add_options(*_DATABASE, _OUTPUT, _VERBOSE, _QUIET)
diff_options = _add_options(_MIGRATIONS, _ENV, _LOG_FORMAT, _OUTPUT, _VERBOSE, _QUIET)
verify_options = _add_options(*_DATABASE, _NO_PLUGINS, _OUTPUT, _VERBOSE, _QUIET)
ledger_options = _add_options(*_DATABASE, _LOCK_WAIT, _OUTPUT, _VERBOSE, _QUIET)
plan_options = _add_options(*_DATABASE, _TO, *_PLUGINS, _ORDER, _OUTPUT, _VERBOSE, _QUIET)
run_options = _add_options(*_DATABASE, _TO, *_PLUGINS, *_LOCK, _ORDER, _REPORT, _VERBOSE, _QUIET)
redo_options = _add_options(*_DATABASE, *_PLUGINS, *_LOCK, _ORDER, _REPORT, _VERBOSE, _QUIET)
down_options = _add_options(*_DATABASE, _DOWN_TO, *_PLUGINS, *_LOCK, _ORDER, _REPORT, _VERBOSE, _QUIET)
fleet_options = _add_options(*_DATABASE, *_PLUGINS, *_LOCK, _ORDER, _REPORT, _VERBOSE, _QUIET)
