"""Reads the read model of a ``VERSION_name.backfill.sql`` file."""

from __future__ import annotations

import re
from pathlib import Path

from confiture.plugins.kit import PluginSettingsFault, TableReader, did_you_mean, find_sidecar
from confiture_backfill.batch import BATCH_KEYS, Batch, read_batch
from confiture_backfill.read_model import ReadModel, make_read_model

_BATCH = "batch-"
DIRECTIVES = ("table", "mode", "count", *(f"{_BATCH}{key}" for key in BATCH_KEYS))

_DIRECTIVE = re.compile(r"--\s*backfill\s*:(.*)")
_SETTING = re.compile(r"\s*([\w-]+)\s*=\s*(.*?)\s*")


def read_backfill_file(folder: Path | None, version: str, name: str) -> ReadModel | None:
    """Return the read model that a migration's ``.backfill.sql`` file fills, ``None`` if there is no file.

    Raises:
        PluginSettingsFault: The file cannot be used, or it belongs to another migration.
    """
    sidecar = find_sidecar(folder, version, name, ".backfill.sql")
    return parse_backfill(sidecar.text, sidecar.name) if sidecar else None


def parse_backfill(text: str, source: str) -> ReadModel:
    """Return the read model that a file's text describes.

    Raises:
        PluginSettingsFault: A directive is unknown, missing or given twice, or the SQL is not usable.
    """
    given = _read_directives(text, source)
    if "table" not in given:
        raise PluginSettingsFault(
            f"{source} does not say which table it fills", hint="begin it with `-- backfill: table=NAME`"
        )
    return make_read_model(
        table=given["table"],
        insert=text,
        mode=given.get("mode", "on-conflict"),
        count=given.get("count"),
        source=source,
        batch=_read_batch(given, source),
    )


def _read_batch(directives: dict[str, str], source: str) -> Batch | None:
    given = {key.removeprefix(_BATCH): value for key, value in directives.items() if key.startswith(_BATCH)}
    if not given:
        return None
    table = TableReader(given, BATCH_KEYS, f"{source}: {_BATCH}", separator="", fault=PluginSettingsFault)
    return read_batch(table.check_keys())


def _read_directives(text: str, source: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("--"):
            break
        if directive := _DIRECTIVE.match(line.strip()):
            key, value = _parse_setting(directive[1], f"{source}, line {number}")
            if key in given:
                raise PluginSettingsFault(
                    f"{source}, line {number}: {key} is given twice", hint="keep one of them"
                )
            given[key] = value
    return given


def _parse_setting(text: str, place: str) -> tuple[str, str]:
    setting = _SETTING.fullmatch(text)
    if not setting or not setting[2]:
        raise PluginSettingsFault(
            f"{place}: {text.strip()!r} is not KEY=VALUE", hint="write `-- backfill: table=NAME`"
        )
    if setting[1] not in DIRECTIVES:
        near = did_you_mean(setting[1], DIRECTIVES) or f"the directives are {', '.join(DIRECTIVES)}"
        raise PluginSettingsFault(f"{place}: there is no directive {setting[1]!r}", hint=near)
    return setting[1], setting[2]
