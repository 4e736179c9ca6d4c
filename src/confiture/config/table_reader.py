"""Read one table of settings key by key, with types, and name whatever cannot be used.

The core, the gate and every plugin read their tables with this, so that each fault has the same form:
file and line, key, what is expected, what was found, and as the hint the line to write instead::

    confiture.toml:3: gate.max_block must be a time such as "2s", not a list
    hint: write max_block = "2s". The longest that reads or writes of a table may be blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from attrs import evolve, field, frozen

from confiture.did_you_mean import did_you_mean
from confiture.exceptions import ConfigurationFault, UsageFault
from confiture.units import MissingUnit, check_timeout, parse_milliseconds, parse_seconds, parse_size

T = TypeVar("T")
D = TypeVar("D")
Path = tuple[str, ...]
Locate = Callable[[Path], str]


@frozen
class Kind(Generic[T]):
    """A type of setting: what is expected, in words and as an example, and how it is read.

    Attributes:
        expected: Completes the sentence "KEY must be …".
        example: A usable value as TOML writes it.
        read: Returns the value, or raises ``ValueError``: with a message that says more than
            ``expected`` does, or without one.
    """

    expected: str
    example: str
    read: Callable[[Any], T]


class LocatedTable(dict[str, Any]):
    """A table of settings that knows where its keys are written; a plain ``dict`` in all else.

    Plugins get their table as ``context.config``. This one lets their faults name file and line too.
    """

    def __init__(self, values: Mapping[str, Any], locate: Locate) -> None:
        super().__init__(values)
        self.locate = locate


@frozen
class TableReader:
    """One table of settings whose keys are all known.

    Attributes:
        values: What was written.
        keys: The keys there are, and what each means.
        label: What the table is called in messages, ``"plugin.checks.require"``; empty: the top level.
        separator: What stands between ``label`` and a key.
        locate: Returns ``"confiture.toml:3"`` for the path of a key; ``None`` if the file is not known.
        path: The path of the table itself, for ``locate``.
        fault: The error to raise.
    """

    values: Mapping[str, Any]
    keys: Mapping[str, str]
    label: str = ""
    separator: str = "."
    locate: Locate | None = field(default=None, repr=False)
    path: Path = ()
    fault: type[ConfigurationFault] = ConfigurationFault

    def check_keys(self, *, also: Iterable[str] = ()) -> TableReader:
        """Return the reader itself if every key is one of ``keys`` or of ``also``.

        Raises:
            ConfigurationFault: A key is unknown; the hint has the nearest known one.
        """
        for fault in self.find_unknown_keys(also=also):
            raise fault
        return self

    def find_unknown_keys(self, *, also: Iterable[str] = ()) -> Iterator[ConfigurationFault]:
        """Yield a fault for every key that is neither one of ``keys`` nor of ``also``."""
        known = (*self.keys, *also)
        of_table = f" in {self.label}" if self.label else ""
        for key in self.values:
            if key not in known:
                hint = did_you_mean(key, known) or f"the keys are {', '.join(known)}"
                yield self._make_fault(key, f"unknown key {key!r}{of_table}", hint)

    def require(self, key: str, kind: Kind[T]) -> T:
        """Return the value of a key that has no default.

        Raises:
            ConfigurationFault: It is missing, or it is not of this kind.
        """
        if key not in self.values:
            raise self._make_fault(key, f"{self.name_key(key)} is missing", self._hint(key, kind))
        return self._read(key, self.values[key], kind)

    def get(self, key: str, kind: Kind[T], default: D) -> T | D:
        """Return the value of a key, or ``default`` if the key is not there.

        Raises:
            ConfigurationFault: It is not of this kind.
        """
        return self._read(key, self.values[key], kind) if key in self.values else default

    def get_mapping(self, key: str, kind: Kind[T]) -> dict[str, T]:
        """Return a table with any keys whose values are all of one kind; empty if it is not there.

        Raises:
            ConfigurationFault: It is no table, or a value is not of this kind.
        """
        inner = self._open_inner(key, self.get(key, TABLE, {}), {})
        return {name: inner._read(name, value, kind) for name, value in inner.values.items()}

    def get_table(self, key: str, keys: Mapping[str, str]) -> TableReader:
        """Return the reader of a table inside this one; of an empty table if it is not there.

        Raises:
            ConfigurationFault: It is no table, or has an unknown key.
        """
        return self._open_inner(key, self.get(key, TABLE, {}), keys).check_keys()

    def get_named_tables(self, key: str, keys: Mapping[str, str]) -> dict[str, TableReader]:
        """Return the readers of ``[key.NAME]``, by name.

        Raises:
            ConfigurationFault: One is no table, or has an unknown key.
        """
        named = self._open_inner(key, self.get(key, TABLE, {}), dict.fromkeys(keys, ""))
        return {name: named.get_table(name, keys) for name in named.values}

    def get_table_list(self, key: str, keys: Mapping[str, str]) -> tuple[TableReader, ...]:
        """Return the readers of ``[[key]]``, or of the one ``[key]``.

        Raises:
            ConfigurationFault: One is no table, or has an unknown key.
        """
        found = self.values.get(key, [])
        tables = found if isinstance(found, list) else [found]
        readers = (self._open_inner(key, self._read(key, table, TABLE), keys) for table in tables)
        # The file's text is searched by key, and would lead to the first of several tables.
        located = (reader if len(tables) == 1 else evolve(reader, locate=None) for reader in readers)
        return tuple(reader.check_keys() for reader in located)

    def name_key(self, key: str) -> str:
        """Return what a key is called in messages: ``"plugin.guard.role"``."""
        return f"{self.label}{self.separator}{key}" if self.label else key

    def refuse(self, key: str, reason: str, *, hint: str | None = None) -> ConfigurationFault:
        """Return the fault of a value that only its reader knows to be wrong, for the caller to raise."""
        default = self.keys.get(key) or None
        return self._make_fault(key, f"{self.name_key(key)} {reason}", hint or default)

    def _open_inner(self, key: str, values: Mapping[str, Any], keys: Mapping[str, str]) -> TableReader:
        return evolve(
            self, values=values, keys=keys, label=self.name_key(key), separator=".", path=(*self.path, key)
        )

    def _read(self, key: str, value: object, kind: Kind[T]) -> T:
        try:
            return kind.read(value)
        except ValueError as error:
            # A value may be a password in the wrong place. It is described and not shown, unless its
            # own reader, which knows that it is a time or a number, quotes it.
            reason = f": {error}" if str(error) else f", not {describe(value)}"
            message = f"{self.name_key(key)} must be {kind.expected}{reason}"
            raise self._make_fault(key, message, self._hint(key, kind)) from None

    def _hint(self, key: str, kind: Kind[Any]) -> str:
        return f"write {key} = {kind.example}. {self.keys.get(key, '')}".rstrip()

    def _make_fault(self, key: str, message: str, hint: str | None) -> ConfigurationFault:
        place = f"{self.locate((*self.path, key))}: " if self.locate else ""
        return self.fault(f"{place}{message}", hint=hint)


def describe(value: object) -> str:
    """Return what a value is, without showing it: ``"a string"``."""
    if isinstance(value, str):
        return "a string" if value.strip() else "an empty string"
    kinds = {bool: "a boolean", int: "a number", float: "a number", list: "a list", tuple: "a list"}
    return kinds.get(type(value), "a table" if isinstance(value, Mapping) else "a date")


def read_text(value: object) -> str:
    """Return a text that is not blank, as it is written.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    if "\0" in value:
        raise ValueError("it holds a NUL character")
    return value


def _read_any_text(value: object) -> str:
    return read_text(value) if not isinstance(value, str) or value.strip() else value


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _read_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError
    if not all(isinstance(text, str) and text.strip() for text in value):
        raise ValueError("it holds something else than names")
    return tuple(value)


def _read_table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError
    return value


def _read_count(value: object) -> int:
    # True is an int to Python, and nobody who writes it means 1.
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError
    return value


def _read_positive(value: object) -> int:
    if _read_count(value) == 0:
        raise ValueError
    return _read_count(value)


def _read_quantity(parse: Callable[[str], T]) -> Callable[[object], T]:
    """Return a reader of what TOML writes as a string or as a bare number."""

    def read(value: object) -> T:
        if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
            raise ValueError
        try:
            return parse(str(value))
        except MissingUnit as error:
            first, second, third = (f'"{way}"' for way in error.ways)
            raise ValueError(
                f"{str(value).strip()} has no unit; write {first}, {second} or {third}"
            ) from None

    return read


def _read_version(text: str) -> str:
    from confiture.migrations.version import check_version

    try:
        return check_version(text)
    except UsageFault as fault:
        raise ValueError(fault.message) from None


def make_choice(*words: str) -> Kind[str]:
    """Return the kind of a setting that is one of ``words``."""
    quoted = [f'"{word}"' for word in words]

    def read(value: object) -> str:
        if value not in words:
            near = did_you_mean(value, words) if isinstance(value, str) else ""
            raise ValueError(near or "found another word" if isinstance(value, str) else "")
        return str(value)

    return Kind(f"one of {', '.join(quoted)}", quoted[0], read)


TEXT = Kind("a string", '"…"', read_text)
ANY_TEXT = Kind("a string", '"…"', _read_any_text)
FLAG = Kind("true or false", "true", _read_flag)
TEXTS = Kind("a list of names", '["…"]', _read_texts)
COUNT = Kind("a whole number, 0 or more", "0", _read_count)
POSITIVE = Kind("a whole number above 0", "1", _read_positive)
TABLE = Kind("a table", "{ … }", _read_table)
DURATION_MS = Kind('a time such as "2s"', '"2s"', _read_quantity(parse_milliseconds))
TIMEOUT = Kind('a time such as "2s"', '"2s"', _read_quantity(check_timeout))
DURATION_S = Kind('a time such as "30s"', '"30s"', _read_quantity(parse_seconds))
SIZE_BYTES = Kind('a size such as "500MB"', '"500MB"', _read_quantity(parse_size))
VERSION = Kind("a version", '"0005"', _read_quantity(_read_version))
