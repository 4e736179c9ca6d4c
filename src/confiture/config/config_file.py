"""Find and read the configuration file, and know on which line each of its keys is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from confiture.config.table_reader import describe
from confiture.exceptions import ConfigurationFault

Table = Mapping[str, Any]


@frozen
class ConfigFile:
    """A configuration file as it was read.

    Attributes:
        path: The file.
        table: Its settings: ``[tool.confiture]``, or the top level of ``confiture.toml``.
        text: Its text, to find the line of a key.
        prefix: The path of the table in the file: ``("tool", "confiture")``.
    """

    path: Path
    table: Table
    text: str
    prefix: tuple[str, ...] = ()

    def locate(self, where: tuple[str, ...], env: str | None = None) -> str:
        """Return ``"confiture.toml:3"`` for the key at ``where``; without a line if none is found.

        With ``env`` the key may be written in that environment's table, which overrides the file's.
        """
        candidates = [("env", env, *where), where] if env else [where]
        for path in candidates:
            if (line := find_line(self.text, (*self.prefix, *path))) is not None:
                return f"{self.path.name}:{line}"
        # A key of an inline table stands on the line of that table.
        return self.locate(where[:-1], env) if where else self.path.name

    def fault(self, message: str, *where: str, hint: str | None = None) -> ConfigurationFault:
        """Return a fault that names the file, and the line of the key at ``where``."""
        return ConfigurationFault(f"{self.locate(where)}: {message}", hint=hint)


def name_table(file: Path | None, *where: str) -> str:
    """Return a table as the file at hand has it: ``[tool.confiture.gate] in pyproject.toml``."""
    name = file.name if file else "confiture.toml"
    prefix = ("tool", "confiture") if name == "pyproject.toml" else ()
    return f"[{'.'.join((*prefix, *where))}] in {name}"


def find_file(start: Path) -> ConfigFile | None:
    """Return the configuration of ``start``, or of the nearest folder above that has one.

    The search ends at the root of the repository.

    Raises:
        ConfigurationFault: It cannot be read, or two files of one folder hold settings.
    """
    for folder in (start, *start.parents):
        found = read_config_file(folder)
        if found is not None or (folder / ".git").exists():
            return found
    return None


def read_config_file(folder: Path) -> ConfigFile | None:
    """Return the configuration in ``folder`` itself.

    Raises:
        ConfigurationFault: It cannot be read, or two files hold settings.
    """
    files = [file for file in (_read_pyproject(folder), _read_confiture_toml(folder)) if file is not None]
    if len(files) > 1:
        raise ConfigurationFault(
            f"{folder} has two configurations: [tool.confiture] in pyproject.toml, and confiture.toml",
            hint="keep one of the two",
        )
    return files[0] if files else None


def _read_confiture_toml(folder: Path) -> ConfigFile | None:
    path = folder / "confiture.toml"
    text = _read_text(path)
    return None if text is None else ConfigFile(path, _parse(path, text), text)


def _read_pyproject(folder: Path) -> ConfigFile | None:
    path = folder / "pyproject.toml"
    text = _read_text(path)
    # A broken pyproject.toml that does not mention confiture belongs to another tool: do not parse it.
    if text is None or "confiture" not in text:
        return None
    tool = _parse(path, text).get("tool", {})
    table = tool.get("confiture") if isinstance(tool, dict) else None
    if table is None:
        return None
    file = ConfigFile(path, table, text, ("tool", "confiture"))
    if not isinstance(table, dict):
        raise file.fault(f"tool.confiture must be a table, not {describe(table)}")
    return file


def _read_text(path: Path) -> str | None:
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
        raise ConfigurationFault(f"{place}: this is not TOML: {what}", hint=f"correct {path}") from None


_KEY = r"""(?:"[^"]*"|'[^']*'|[\w-]+)"""


def find_line(text: str, where: tuple[str, ...]) -> int | None:
    """Return the 1-based line on which the key or table at ``where`` is written, ``None`` if not found."""
    header: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if found := re.match(r"\s*\[\[?([^\[\]]+)\]", line):
            header = _split_key(found[1])
            path = header
        elif found := re.match(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=", line):
            path = header + _split_key(found[1])
        else:
            continue
        if where and path[: len(where)] == where:
            return number
    return None


def _split_key(text: str) -> tuple[str, ...]:
    # A dot in quotes divides nothing: "orders.email" is one key.
    return tuple(part.strip("\"'") for part in re.findall(_KEY, text))
