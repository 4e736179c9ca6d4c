"""The read model of a ``VERSION_name.backfill.sql`` beside the migration."""

from __future__ import annotations

import re
from pathlib import Path

from confiture.did_you_mean import did_you_mean
from confiture.migrations.version import parse_filename, parse_version
from confiture_backfill.batch import BATCH_KEYS, Batch, batch
from confiture_backfill.faults import Misconfigured
from confiture_backfill.model import ReadModel, read_model

_BATCH = "batch-"
DIRECTIVES = ("table", "mode", "count", *(f"{_BATCH}{key}" for key in BATCH_KEYS))

_DIRECTIVE = re.compile(r"--\s*backfill\s*:(.*)")
_SETTING = re.compile(r"\s*([\w-]+)\s*=\s*(.*?)\s*")


def beside(folder: Path | None, version: str, name: str) -> ReadModel | None:
    """Return what the file of this migration fills, ``None`` where there is none.

    Raises:
        Misconfigured: The file is not usable, or it is not clear that it is the right one.
    """
    found = _files_of(folder, version) if folder else []
    if not found:
        return None
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise Misconfigured(f"{names} are both of version {version}", hint="keep one of them")
    (path,) = found
    parsed = parse_filename(path.name)
    if parsed and parsed.name != name:
        raise Misconfigured(
            f"{path.name} is of version {version}, and that migration is called {name!r}",
            hint=f"rename it to {'_'.join(filter(None, (version, name)))}.backfill.sql",
        )
    return parse(_text_of(path), path.name)


def _files_of(folder: Path, version: str) -> list[Path]:
    return [
        path
        for path in sorted(folder.glob("*.backfill.sql"))
        if (parsed := parse_filename(path.name)) and parse_version(parsed.version) == parse_version(version)
    ]


def _text_of(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Misconfigured(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path.name} is not UTF-8, from byte {error.start + 1} on") from error
    if "\0" in text:
        # libpq would end the statement there.
        raise Misconfigured(f"{path.name} holds a NUL character", hint="take it out")
    return text.replace("\r\n", "\n")


def parse(text: str, source: str) -> ReadModel:
    """Return the read model that a file's text describes.

    Raises:
        Misconfigured: A directive is unknown, missing or given twice, or the SQL is not usable.
    """
    given = _directives(text, source)
    if "table" not in given:
        raise Misconfigured(
            f"{source} does not say which table it fills", hint="begin it with `-- backfill: table=NAME`"
        )
    return read_model(
        table=given["table"],
        insert=text,
        mode=given.get("mode", "on-conflict"),
        count=given.get("count"),
        source=source,
        batch=_batch(given, source),
    )


def _batch(given: dict[str, str], source: str) -> Batch | None:
    asked = {key.removeprefix(_BATCH): value for key, value in given.items() if key.startswith(_BATCH)}
    return batch(asked, lambda key: f"{source}: {_BATCH}{key}") if asked else None


def _directives(text: str, source: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("--"):
            break
        if directive := _DIRECTIVE.match(line.strip()):
            key, value = _setting(directive[1], f"{source}, line {number}")
            if key in given:
                raise Misconfigured(f"{source}, line {number}: {key} is given twice", hint="keep one of them")
            given[key] = value
    return given


def _setting(text: str, place: str) -> tuple[str, str]:
    setting = _SETTING.fullmatch(text)
    if not setting or not setting[2]:
        raise Misconfigured(
            f"{place}: {text.strip()!r} is not KEY=VALUE", hint="write `-- backfill: table=NAME`"
        )
    if setting[1] not in DIRECTIVES:
        near = did_you_mean(setting[1], DIRECTIVES) or f"the directives are {', '.join(DIRECTIVES)}"
        raise Misconfigured(f"{place}: there is no directive {setting[1]!r}", hint=near)
    return setting[1], setting[2]
