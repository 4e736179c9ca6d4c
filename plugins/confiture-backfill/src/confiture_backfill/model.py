"""One read model to fill, from the configuration or a file, found usable."""

from __future__ import annotations

import re
from typing import Literal, cast

from attrs import frozen

from confiture_backfill.faults import Misconfigured

Mode = Literal["on-conflict", "truncate"]
MODES = ("on-conflict", "truncate")

# What may hold the words ON CONFLICT without meaning them.
_NOT_SQL = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | (\$\w*\$).*?\1""", re.DOTALL | re.VERBOSE
)
_ON_CONFLICT = re.compile(r"\bON\s+CONFLICT\b", re.IGNORECASE)


@frozen
class ReadModel:
    """One table, and how it is filled.

    Attributes:
        table: As PostgreSQL reads a name: ``r_totals``, ``sales."Daily Totals"``.
        insert: The SQL that fills it.
        mode: ``"on-conflict"``: the INSERT says what happens to rows that are there;
            ``"truncate"``: the table is emptied first.
        count: A query for the number of rows the table must then hold; ``None``: not checked.
        source: Where this was written, for messages.
    """

    table: str
    insert: str
    mode: Mode
    count: str | None
    source: str


def read_model(*, table: str, insert: str, mode: str, count: str | None, source: str) -> ReadModel:
    """Return the read model.

    Raises:
        Misconfigured: It cannot be filled that way.
    """
    if mode not in MODES:
        raise Misconfigured(
            f"{source}: mode is {mode!r}", hint=f"expected is one of {', '.join(map(repr, MODES))}"
        )
    code = _NOT_SQL.sub(" ", insert)
    if not code.strip(" \t\r\n;"):
        raise Misconfigured(f"{source}: there is no SQL in it", hint=f"write the INSERT that fills {table}")
    if mode == "on-conflict" and not _ON_CONFLICT.search(code):
        raise Misconfigured(
            f"{source}: mode is 'on-conflict' and the INSERT has no ON CONFLICT: "
            "a second run would double the rows",
            hint="add ON CONFLICT (…) DO UPDATE SET …, or set mode to 'truncate'",
        )
    return ReadModel(table, insert, cast(Mode, mode), count, source)
