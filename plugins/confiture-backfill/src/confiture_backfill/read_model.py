"""One read model to fill, from the configuration or a file, found usable."""

from __future__ import annotations

import re
from typing import Literal, cast

from attrs import frozen

from confiture.plugins.kit import PluginSettingsFault
from confiture_backfill.batch import Batch
from confiture_backfill.key_range import RANGE, has_range, strip_comments

Mode = Literal["on-conflict", "truncate"]
MODES = ("on-conflict", "truncate")

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
        batch: How it is filled piece by piece; ``None``: in one piece.
    """

    table: str
    insert: str
    mode: Mode
    count: str | None
    source: str
    batch: Batch | None = None


def make_read_model(
    *, table: str, insert: str, mode: str, count: str | None, source: str, batch: Batch | None = None
) -> ReadModel:
    """Return the read model.

    Raises:
        PluginSettingsFault: It cannot be filled that way.
    """
    if mode not in MODES:
        raise PluginSettingsFault(
            f"{source}: mode is {mode!r}", hint=f"expected is one of {', '.join(map(repr, MODES))}"
        )
    written = strip_comments(insert)
    if not written.strip(" \t\r\n;"):
        raise PluginSettingsFault(
            f"{source}: there is no SQL in it", hint=f"write the INSERT that fills {table}"
        )
    if mode == "on-conflict" and not _ON_CONFLICT.search(written):
        raise PluginSettingsFault(
            f"{source}: mode is 'on-conflict' and the INSERT has no ON CONFLICT: "
            "a second run would double the rows",
            hint="add ON CONFLICT (…) DO UPDATE SET …, or set mode to 'truncate'",
        )
    _refuse_range(insert, source, batch)
    return ReadModel(table, insert, cast(Mode, mode), count, source, batch)


def _refuse_range(insert: str, source: str, batch: Batch | None) -> None:
    if batch and not has_range(insert):
        raise PluginSettingsFault(
            f"{source}: it is filled in batches and the SQL has no {RANGE}: each batch would fill all of it",
            hint=f"where the INSERT reads {batch.source}, write WHERE {RANGE} AND …",
        )
    if not batch and has_range(insert):
        raise PluginSettingsFault(
            f"{source}: the SQL has a {RANGE} and nothing says of what",
            hint="add a batch, with its source and column",
        )
