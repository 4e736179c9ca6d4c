"""A read model to fill, from the settings or from a file."""

from __future__ import annotations

import re

from attrs import frozen

from confiture.plugins.kit import PluginSettingsFault, make_choice
from confiture_backfill.batch import Batch
from confiture_backfill.range_condition import RANGE, has_range, remove_non_code

DEFAULT_MODE = "on-conflict"
MODE = make_choice(DEFAULT_MODE, "truncate")

_ON_CONFLICT = re.compile(r"\bON\s+CONFLICT\b", re.IGNORECASE)


@frozen
class ReadModel:
    """A table, and how to fill it.

    Attributes:
        table: As PostgreSQL reads a name: ``r_totals``, ``sales."Daily Totals"``.
        insert: The SQL that fills it.
        mode: ``"on-conflict"``: the INSERT says what happens to rows that exist;
            ``"truncate"``: the table is emptied first.
        count: A query for the number of rows the table must then hold; ``None``: not checked.
        place: Where this is written, for messages.
        batch: How to fill it in batches; ``None``: in one piece.
    """

    table: str
    insert: str
    mode: str
    count: str | None
    place: str
    batch: Batch | None = None


def make_read_model(
    *, table: str, insert: str, mode: str, count: str | None, place: str, batch: Batch | None = None
) -> ReadModel:
    """Return the read model.

    Raises:
        PluginSettingsFault: The SQL does not fit the mode or the batches.
    """
    code = remove_non_code(insert)
    if not code.strip(" \t\r\n;"):
        raise PluginSettingsFault(f"{place} has no SQL", hint=f"write the INSERT that fills {table}")
    if mode == "on-conflict" and not _ON_CONFLICT.search(code):
        raise PluginSettingsFault(
            f"{place}: mode is 'on-conflict' and the INSERT has no ON CONFLICT: "
            "a second run would double the rows",
            hint="add ON CONFLICT (…) DO UPDATE SET …, or set mode to 'truncate'",
        )
    _check_range(insert, place, batch)
    return ReadModel(table, insert, mode, count, place, batch)


def _check_range(insert: str, place: str, batch: Batch | None) -> None:
    if batch and not has_range(insert):
        raise PluginSettingsFault(
            f"{place}: it is filled in batches and the SQL has no {RANGE}: each batch would fill all of it",
            hint=f"write WHERE {RANGE} AND … in the part of the INSERT that reads {batch.source}",
        )
    if not batch and has_range(insert):
        raise PluginSettingsFault(
            f"{place}: the SQL has a {RANGE} and there is no batch",
            hint="add a batch, with its source and column",
        )
