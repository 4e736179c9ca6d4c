"""Refuse a database URL where none belongs: the message about it would show its password."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from confiture.exceptions import UsageFault

_STARTS_URL = re.compile(
    r"(?:\w+=)?\s*(?:(?:jdbc:)?postgres(?:ql)?(?:\+\w+)?:/|password\s*="
    r"|(?:host|hostaddr|user|dbname|port)\s*=.*\bpassword\s*=)",
    re.IGNORECASE | re.DOTALL,
)


def refuse_stray_url(command: click.Command | None, arguments: Sequence[str]) -> None:
    """Refuse a database URL that is not the value of an option of the command that takes one.

    Raises:
        UsageFault: It names the way to give the URL, and no value.
    """
    options = [param for param in command.params if isinstance(param, click.Option)] if command else []
    takes_url = {name for option in options if "URL" in (option.metavar or "") for name in option.opts}
    before = ""
    for argument in arguments:
        option, equals, value = argument.partition("=")
        is_option = argument.startswith("-")
        named, value = (option, value) if is_option and equals else (before, argument)
        if _STARTS_URL.match(value) and named not in takes_url:
            raise UsageFault(
                "a database URL stands where none belongs" + (f": after {named}" if named else ""),
                hint="give it with --url, or in CONFITURE_DATABASE_URL, which nobody else here can see",
            )
        before = argument if is_option and not equals else ""
