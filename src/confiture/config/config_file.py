"""The configuration file: found, read, and every key of it checked. Nothing is resolved here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from confiture.exceptions import ConfigurationFault, UsageFault
from confiture.units import milliseconds, seconds

Table = Mapping[str, Any]
Keys = Mapping[str, Callable[[object], str | None]]


@frozen
class ConfigFile:
    """A configuration file as it was read.

    Attributes:
        path: Where it lies.
        table: Its settings: ``[tool.confiture]``, or the top level of ``confiture.toml``.
        text: For finding the line of a key.
        prefix: The headers above the table, ``("tool", "confiture")``.
    """

    path: Path
    table: Table
    text: str
    prefix: tuple[str, ...] = ()

    def fault(self, message: str, *where: str, hint: str | None = None) -> ConfigurationFault:
        """Return a fault that names the file, and the line of the key at ``where``."""
        line = line_of(self.text, (*self.prefix, *where))
        place = self.path.name if line is None else f"{self.path.name}:{line}"
        return ConfigurationFault(f"{place}: {message}", hint=hint)


def find_file(start: Path) -> ConfigFile | None:
    """Return the nearest configuration of ``start`` and the folders above, up to the repository's.

    Raises:
        ConfigurationFault: It cannot be read, or two files of one folder hold settings.
    """
    for folder in (start, *start.parents):
        found = read_in(folder)
        if found is not None or (folder / ".git").exists():
            return found
    return None


def read_in(folder: Path) -> ConfigFile | None:
    """Return the configuration that lies in ``folder`` itself.

    Raises:
        ConfigurationFault: It cannot be read, or two files hold settings.
    """
    files = [file for file in (_read_pyproject(folder), _read_own(folder)) if file is not None]
    if len(files) > 1:
        raise ConfigurationFault(
            f"{folder} has two configurations: [tool.confiture] in pyproject.toml, and confiture.toml",
            hint="keep one of the two",
        )
    return files[0] if files else None


def _read_own(folder: Path) -> ConfigFile | None:
    path = folder / "confiture.toml"
    text = _text_of(path)
    return None if text is None else ConfigFile(path, _parse(path, text), text)


def _read_pyproject(folder: Path) -> ConfigFile | None:
    path = folder / "pyproject.toml"
    text = _text_of(path)
    # Somebody else's pyproject.toml is none of our business, sound or not.
    if text is None or "confiture" not in text:
        return None
    tool = _parse(path, text).get("tool", {})
    table = tool.get("confiture") if isinstance(tool, dict) else None
    if table is None:
        return None
    file = ConfigFile(path, table, text, ("tool", "confiture"))
    if not isinstance(table, dict):
        raise file.fault(f"tool.confiture is to be a table, not {_shown(table)}")
    return file


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise ConfigurationFault(f"{path} is not UTF-8: byte {error.start} cannot be read") from None
    except OSError as error:
        raise ConfigurationFault(f"{path} cannot be read: {error.strerror}") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        place = f"{path.name}:{at[1]}:{at[2]}" if at else path.name
        what = str(error)[: at.start()] if at else str(error)
        raise ConfigurationFault(f"{place}: this is not TOML: {what}", hint=f"the file is {path}") from None


def line_of(text: str, where: tuple[str, ...]) -> int | None:
    """Return the 1-based line on which the key or table at ``where`` is written, if it can be told."""
    header: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if found := re.match(r"\s*\[\[?([^\[\]]+)\]", line):
            header = _key_parts(found[1])
            here = header
        elif found := re.match(r"\s*([\w.\"' -]+?)\s*=", line):
            here = header + _key_parts(found[1])
        else:
            continue
        if where and here[: len(where)] == where:
            return number
    return None


def _key_parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip(" \t\"'") for part in text.split("."))


def check_keys(file: ConfigFile) -> None:
    """Refuse a key that is unknown and a value of the wrong type, wherever it stands.

    Raises:
        ConfigurationFault: It names the file, the line and the nearest known key.
    """
    _check_table(file, file.table, ())
    for name, table in file.table.get("env", {}).items():
        if not isinstance(table, dict):
            raise file.fault(f"env.{name} is to be a table, not {_shown(table)}", "env", name)
        if "env" in table:
            raise file.fault("an [env] has no [env] of its own", "env", name, "env")
        _check_table(file, table, ("env", name))


def _check_table(file: ConfigFile, table: Table, where: tuple[str, ...], keys: Keys | None = None) -> None:
    known = _KEYS if keys is None else keys
    for key, value in table.items():
        if key not in known:
            raise file.fault(f"unknown key {key!r}", *where, key, hint=_nearest(key, known))
        wrong = known[key](value)
        if wrong:
            # A value may be a password in the wrong place: it is described, never shown.
            raise file.fault(f"{'.'.join((*where, key))} {wrong}", *where, key)
        if keys is None and key == "gate":
            _check_table(file, value, (*where, "gate"), _GATE_KEYS)


def _nearest(key: str, known: Keys) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(known)}"


def _shown(value: object) -> str:
    names = {"str": "a string", "int": "a number", "float": "a number", "bool": "true or false"}
    return names.get(
        type(value).__name__, {"list": "a list", "dict": "a table"}.get(type(value).__name__, "a date")
    )


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return f"is to be a string, not {_shown(value)}"
    return None if value.strip() and "\0" not in value else "is empty"


def _schema(value: object) -> str | None:
    wrong = _text(value)
    if wrong is None and len(str(value).encode()) > 63:
        return "is longer than PostgreSQL's 63 bytes"
    return wrong


def _names(value: object) -> str | None:
    if not isinstance(value, list):
        return f'is to be a list of names, ["backfill"], not {_shown(value)}'
    return None if all(isinstance(each, str) and each.strip() for each in value) else "is to hold names only"


def _duration(value: object) -> str | None:
    return _time(value, milliseconds)


def _wait(value: object) -> str | None:
    return _time(value, seconds)


def _time(value: object, read: Callable[[str], float]) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return f'is to be a time, "5s", not {_shown(value)}'
    try:
        read(str(value))
    except ValueError as error:
        return f"is not usable: {error}"
    return None


def _count(value: object) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return None if whole else "is to be a whole number, 0 or more"


def _yes_or_no(value: object) -> str | None:
    return None if isinstance(value, bool) else f"is to be true or false, not {_shown(value)}"


def _table(value: object) -> str | None:
    return None if isinstance(value, dict) else f"is to be a table, not {_shown(value)}"


def _size(value: object) -> str | None:
    from confiture.units import size_bytes

    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return f'is to be a size, "500MB", not {_shown(value)}'
    try:
        size_bytes(str(value))
    except ValueError as error:
        return f"is not usable: {error}"
    return None


def _version(value: object) -> str | None:
    from confiture.migrations.version import numbers

    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return f"is to be a version, not {_shown(value)}"
    try:
        numbers(str(value))
    except UsageFault as fault:
        return f"is not usable: {fault.message}"
    return None


def _one_of(*words: str) -> Callable[[object], str | None]:
    those = ", ".join(f'"{word}"' for word in words)
    return lambda value: None if value in words else f"is to be one of {those}"


def _each(check: Callable[[object], str | None]) -> Callable[[object], str | None]:
    """Return a check of a table with any keys, whose values are alike."""

    def checked(value: object) -> str | None:
        if not isinstance(value, dict):
            return _table(value)
        return next(
            (f"holds {key!r}, which {wrong}" for key, each in value.items() if (wrong := check(each))), None
        )

    return checked


def _times_of_tables(value: object) -> str | None:
    bare = next((key for key in value if "." not in key), None) if isinstance(value, dict) else None
    if bare is not None:
        return f'holds {bare!r}: write it with its schema, in quotes: "public.{bare}"'
    return _each(_duration)(value)


_GATE_KEYS: Keys = {
    "fail_on": _one_of("error", "warning", "never"),
    "severity": _each(_one_of("error", "warning", "info", "off")),
    "judge_after": _version,
    "max_block": _duration,
    "max_block_of": _times_of_tables,
    "max_duration": _duration,
    "max_hook_duration": _duration,
    "max_rewritten": _size,
    "max_wal": _size,
    "max_estimated": _duration,
}
_KEYS: Keys = {
    "url": _text,
    "migrations": _text,
    "schema": _schema,
    "plugins": _names,
    "lock_timeout": _duration,
    "statement_timeout": _duration,
    "lock_wait": _wait,
    "lock_retries": _count,
    "wait_concurrently": _duration,
    "allow_out_of_order": _yes_or_no,
    "direct_url": _text,
    "gate": _table,
    "plugin": _each(_table),
    "env": _table,
}
