"""What Flyway reads in a script and beside it: settings, placeholders, checksum, transaction."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path

from attrs import frozen

from confiture.exceptions import MigrationFault
from confiture.migrations.folder import read_text
from confiture.sources.source import SourceOptions
from confiture.sql.parser import ParseError, parse
from confiture.sql.placeholders import replace_everywhere
from confiture.sql.position import SourceFile
from confiture.sql.psql import strip_psql
from confiture.sql.transaction_block import find_transaction_refusal

_KEYS = ("executeInTransaction", "placeholderReplacement", "encoding", "shouldExecute")
_WRITTEN = re.compile(r"\$\{\s*([^}\s]+)\s*\}")
# Without one of these words no statement is refused in a transaction, and the text need not be parsed.
_MAY_REFUSE = re.compile(
    r"\b(?:concurrently|vacuum|reindex|system|database|tablespace|subscription|discard|cluster)\b", re.I
)


@frozen
class ScriptConfig:
    """The settings of one script: ``V1__name.sql.conf``.

    Attributes:
        transactional: ``executeInTransaction``; ``None`` if the script's statements decide.
        replaces: ``placeholderReplacement``.
    """

    transactional: bool | None = None
    replaces: bool = True


def read_script_config(script: Path) -> ScriptConfig:
    """Return the settings beside a script.

    Raises:
        MigrationFault: They contain what confiture cannot follow.
    """
    path = script.with_name(f"{script.name}.conf")
    if not path.is_file():
        return ScriptConfig()
    values: dict[str, str] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        key, _, value = line.partition("=")
        if not line.strip() or line.lstrip().startswith(("#", "!")):
            continue
        values[key.strip()] = value.strip()
        if reason := _find_refusal(key.strip(), value.strip()):
            raise MigrationFault(reason[0], hint=reason[1], file=path, line=number, source_line=line)
    return ScriptConfig(
        _read_flag(values.get("executeInTransaction")),
        _read_flag(values.get("placeholderReplacement")) is not False,
    )


def _find_refusal(key: str, value: str) -> tuple[str, str] | None:
    if key not in _KEYS:
        return f"{key!r} is no setting of a script", f"the settings are {', '.join(_KEYS)}"
    if key == "encoding" and value.upper().replace("-", "") != "UTF8":
        return f"confiture reads UTF-8, not {value}", "convert the script: iconv -t UTF-8"
    if key == "shouldExecute" and _read_flag(value) is not True:
        return (
            "shouldExecute decides when the script runs, and confiture does not evaluate it",
            "move a script that is never to run out of the folder",
        )
    return None


def _read_flag(value: str | None) -> bool | None:
    return None if value is None else value.lower() == "true"


def expand_script(path: Path, text: str, config: ScriptConfig, options: SourceOptions) -> str:
    """Return a script's text with the values of its placeholders.

    Raises:
        MigrationFault: A placeholder has no value.
    """
    if not config.replaces or "${" not in text:
        return text
    # Flyway does not distinguish upper and lower case here.
    values = {name.lower(): value for name, value in _build_defaults(path, options).items()}
    values |= {name.lower(): value for name, value in options.variables.items()}
    written = {name: values[name.lower()] for name in _WRITTEN.findall(text) if name.lower() in values}
    return replace_everywhere(SourceFile(path, text), written).text


def _build_defaults(path: Path, options: SourceOptions) -> Mapping[str, str]:
    """Return those of Flyway's own placeholders that do not depend on its connection."""
    return {
        "flyway:filename": path.name,
        "flyway:table": "flyway_schema_history",
        "flyway:timestamp": _read_clock(),
        "flyway:workingDirectory": str(options.root.resolve()),
    }


@cache
def _read_clock() -> str:
    # One time for the whole command: it prepares a migration more than once.
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")


def compute_checksum(text: str) -> int:
    """Return Flyway's checksum: the CRC-32 of the lines without their ends, as a signed number."""
    joined = re.sub(r"\r\n|\r|\n", "", text)
    value = zlib.crc32(joined.encode(errors="surrogateescape"))
    return value - 2**32 if value >= 2**31 else value


def is_transactional(path: Path, text: str, config: ScriptConfig) -> bool:
    """Return False if a script runs outside a transaction: its settings say so, or all its statements must.

    Raises:
        MigrationFault: Some of its statements must, and others not.
    """
    if config.transactional is not None:
        return config.transactional
    if not _MAY_REFUSE.search(text):
        return True
    source = SourceFile(path, text)
    try:
        found = parse(strip_psql(source).text)
    except ParseError:
        # Preparing the migration reports it with its place.
        return True
    refusals = [find_transaction_refusal(parsed.kind, parsed.node) for parsed in found]
    outside = [refusal for refusal in refusals if refusal and refusal.always]
    if outside and len(outside) < len(found):
        first = next(at for at, refusal in enumerate(refusals) if refusal is outside[0])
        raise source.build_fault(
            f"{outside[0].words} cannot run inside a transaction, but other statements of this file do",
            found[first].start,
            hint="give it a separate migration, as Flyway demands too; or write "
            f"executeInTransaction=false into {path.name}.conf",
        )
    return not outside
