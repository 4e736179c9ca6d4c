"""Read the file of ``confiture stats export``; whoever has edited it by hand is told where it is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from attrs import fields, frozen

from confiture.estimate.statistics import (
    STATS_VERSION,
    Column,
    Index,
    Probe,
    Relation,
    Server,
    Statistics,
    Transactions,
    Trigger,
)
from confiture.exceptions import UsageFault

_T = TypeVar("_T")
_WRITE_ANEW = "write it anew: confiture stats export --url PRODUCTION"
_WORDS = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
_CHOICES = {"kind": ("table", "partitioned", "matview")}


class StatisticsFault(UsageFault):
    """The file with production's statistics cannot be used.

    Attributes:
        file: Which file.
        key: Where in it, ``relations[3].rows``; empty where it is the whole of it.
    """

    def __init__(self, file: str, key: str, problem: str, *, hint: str = _WRITE_ANEW) -> None:
        super().__init__(f"{file}: {key + ': ' if key else ''}{problem}", hint=hint)
        self.file = file
        self.key = key


@frozen
class _At:
    """A place in the file."""

    file: str
    key: str

    def fault(self, problem: str) -> StatisticsFault:
        return StatisticsFault(self.file, self.key, problem)

    def below(self, key: str) -> _At:
        return _At(self.file, f"{self.key}.{key}" if self.key else key)

    def item(self, number: int) -> _At:
        return _At(self.file, f"{self.key}[{number}]")


def load(path: Path) -> Statistics:
    """Return the statistics that a file holds.

    Raises:
        StatisticsFault: It is missing, no JSON, of another version, or not as it was written.
    """
    at = _At(str(path), "")
    document = _object(_read(path), at)
    _check_version(document, at)
    relations = _list(_value(document, "relations", at), at.below("relations"), _relation)
    _check_names(relations, at)
    return Statistics(
        taken_at=_moment(_value(document, "taken_at", at), at.below("taken_at")),
        server=_made(Server)(_value(document, "server", at), at.below("server")),
        settings=_settings(_value(document, "settings", at), at.below("settings")),
        relations={relation.name: relation for relation in relations},
        transactions=_made(Transactions)(_value(document, "transactions", at), at.below("transactions")),
        probe=_made(Probe)(_value(document, "probe", at), at.below("probe")),
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes().decode())
    except OSError as error:
        raise StatisticsFault(str(path), "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StatisticsFault(str(path), "", "is not UTF-8") from None
    except RecursionError:
        raise StatisticsFault(str(path), "", "is nested too deep") from None
    except ValueError as error:
        raise StatisticsFault(str(path), "", f"is not JSON: {error}") from None


def _check_version(document: Mapping[str, Any], at: _At) -> None:
    version = _value(document, "stats_version", at)
    if version != STATS_VERSION:
        raise StatisticsFault(
            at.file,
            "stats_version",
            f"this confiture reads version {STATS_VERSION}, and the file is of {version!r}",
            hint="export with the confiture that is to read it, or install the one that wrote it",
        )


def _check_names(relations: tuple[Relation, ...], at: _At) -> None:
    seen: set[str] = set()
    for number, relation in enumerate(relations):
        if relation.name in seen:
            raise at.below("relations").item(number).below("name").fault(f"{relation.name} is there twice")
        seen.add(relation.name)
    for number, relation in enumerate(relations):
        if relation.parent is not None and relation.parent not in seen:
            problem = f"there is no relation {relation.parent}"
            raise at.below("relations").item(number).below("parent").fault(problem)


def _relation(value: Any, at: _At) -> Relation:
    lists = {"indexes": _made(Index), "columns": _made(Column), "triggers": _made(Trigger)}
    return _made(Relation, lists)(value, at)


def _made(
    shape: type[_T], lists: Mapping[str, Callable[[Any, _At], Any]] | None = None
) -> Callable[[Any, _At], _T]:
    """Return what makes a value of this shape, with every key that it has and no other."""
    hints = get_type_hints(shape)
    names = [each.name for each in fields(shape)]  # type: ignore[arg-type]

    def make(value: Any, at: _At) -> _T:
        document = _object(value, at)
        if unknown := [key for key in document if key not in names]:
            raise at.below(unknown[0]).fault("there is no such key")
        given = {}
        for name in names:
            item, place = _value(document, name, at), at.below(name)
            made = lists.get(name) if lists else None
            given[name] = _list(item, place, made) if made else _checked(item, hints[name], name, place)
        return shape(**given)

    return make


def _checked(value: Any, hint: Any, name: str, at: _At) -> Any:
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return _list(value, at, lambda each, place: _checked(each, inner, "", place))
    if isinstance(hint, UnionType):
        hint, optional = get_args(hint)[0], True
        if value is None and optional:
            return None
    if name in _CHOICES:
        return _one_of(value, _CHOICES[name], at)
    return _number(value, hint, name, at) if hint in (int, float) else _of_type(value, hint, at)


def _one_of(value: Any, choices: tuple[str, ...], at: _At) -> str:
    if value not in choices:
        raise at.fault(f"must be one of {', '.join(choices)}, and is {value!r}")
    return str(value)


def _number(value: Any, hint: type, name: str, at: _At) -> Any:
    right = isinstance(value, int | float) if hint is float else isinstance(value, int)
    if isinstance(value, bool) or not right:
        raise at.fault(f"must be {_WORDS[hint]}, and is {value!r}")
    if value != value or abs(value) == float("inf") or (value < 0 and name != "distinct"):
        raise at.fault(f"cannot be {value}")
    return hint(value)


def _of_type(value: Any, hint: type, at: _At) -> Any:
    if not isinstance(value, hint):
        raise at.fault(f"must be {_WORDS[hint]}, and is {value!r}")
    return value


def _object(value: Any, at: _At) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _of_type(value, dict, at)
    return found


def _list(value: Any, at: _At, make: Callable[[Any, _At], _T]) -> tuple[_T, ...]:
    return tuple(make(each, at.item(number)) for number, each in enumerate(_of_type(value, list, at)))


def _value(document: Mapping[str, Any], key: str, at: _At) -> Any:
    if key not in document:
        raise at.below(key).fault("is missing")
    return document[key]


def _settings(value: Any, at: _At) -> Mapping[str, Any]:
    settings = _object(value, at)
    for name, setting in settings.items():
        if not isinstance(setting, bool | int | float | str):
            raise at.below(name).fault(f"must be a number, text, true or false, and is {setting!r}")
    return settings


def _moment(value: Any, at: _At) -> datetime:
    try:
        moment = datetime.fromisoformat(_of_type(value, str, at))
    except ValueError:
        raise at.fault(f"must be a time as in 2026-01-31T12:00:00+00:00, and is {value!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
