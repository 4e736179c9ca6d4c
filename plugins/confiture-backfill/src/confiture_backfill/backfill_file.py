"""Read the read model of ``VERSION_name.backfill.sql``."""

from __future__ import annotations

import re
from pathlib import Path

from confiture.plugins.kit import TEXT, PluginSettingsFault, Sidecar, TableReader, did_you_mean, find_sidecar
from confiture_backfill.batch import BATCH_KEYS, read_batch, unquote_example
from confiture_backfill.read_model import DEFAULT_MODE, MODE, ReadModel, make_read_model

SUFFIX = ".backfill.sql"
_BATCH = "batch-"
DIRECTIVES = {
    "table": "The table to fill; begin the file with `-- backfill: table=NAME`.",
    "mode": "on-conflict (default) or truncate.",
    "count": "A query for the number of rows the table must then hold.",
    **{f"{_BATCH}{key}": meaning for key, meaning in BATCH_KEYS.items()},
}

_DIRECTIVE = re.compile(r"--\s*backfill\s*:(.*)")
_SETTING = re.compile(r"\s*([\w-]+)\s*=\s*(.*?)\s*")


def read_backfill_file(folder: Path | None, version: str, name: str) -> ReadModel | None:
    """Return the read model of a migration's file; ``None`` if it has no file.

    Raises:
        PluginSettingsFault: The file cannot be used, or is not clearly this migration's.
    """
    file = find_sidecar(folder, version, name, SUFFIX)
    return parse_backfill_file(file) if file else None


def parse_backfill_file(file: Sidecar) -> ReadModel:
    """Return the read model that a file describes.

    Raises:
        PluginSettingsFault: A directive is unknown, missing or repeated, or the SQL cannot be used.
    """
    directives = TableReader(
        _read_directives(file), DIRECTIVES, label=file.name, separator=": ", fault=PluginSettingsFault
    )
    has_batch = any(key.startswith(_BATCH) for key in directives.values)
    return make_read_model(
        table=directives.require("table", unquote_example(TEXT)),
        insert=file.text,
        mode=directives.get("mode", unquote_example(MODE), DEFAULT_MODE),
        count=directives.get("count", TEXT, None),
        place=file.name,
        batch=read_batch(directives, prefix=_BATCH) if has_batch else None,
    )


def _read_directives(file: Sidecar) -> dict[str, str]:
    """Return the directives in the comments before the first line of SQL."""
    directives: dict[str, str] = {}
    for number, line in enumerate(file.text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("--"):
            break
        if directive := _DIRECTIVE.match(line.strip()):
            place = f"{file.name}, line {number}"
            key, value = _parse_directive(directive[1], place)
            if key in directives:
                raise PluginSettingsFault(f"{place}: {key} is set twice", hint="keep one of them")
            directives[key] = value
    return directives


def _parse_directive(text: str, place: str) -> tuple[str, str]:
    setting = _SETTING.fullmatch(text)
    if not setting or not setting[2]:
        raise PluginSettingsFault(
            f"{place}: {text.strip()!r} is not KEY=VALUE", hint="write `-- backfill: table=NAME`"
        )
    if setting[1] not in DIRECTIVES:
        near = did_you_mean(setting[1], DIRECTIVES) or f"the directives are {', '.join(DIRECTIVES)}"
        raise PluginSettingsFault(f"{place}: there is no directive {setting[1]!r}", hint=near)
    return setting[1], setting[2]
