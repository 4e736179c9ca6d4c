"""Read the file of ``confiture stats export`` and name the place of each error, for files edited by hand.

The attributes of the value classes in ``statistics`` are the schema: their annotations decide which
types, keys and ``null`` are valid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from attrs import fields, frozen

from confiture.config.urls import mask_password
from confiture.estimate.statistics import (
    STATS_VERSION,
    ColumnStatistics,
    Index,
    Probe,
    RelationStatistics,
    ServerFacts,
    Statistics,
    Transactions,
    Trigger,
)
from confiture.exceptions import UsageFault

_T = TypeVar("_T")
_EXPORT_HINT = "check the path, or export the file again: confiture stats export --url PRODUCTION > FILE"
_TYPE_WORDS = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
# Of PostgreSQL's settings those that the estimates calculate with; memory is in bytes.
_NUMERIC_SETTINGS = (
    "effective_cache_size",
    "max_parallel_workers_per_gather",
    "random_page_cost",
    "seq_page_cost",
    "shared_buffers",
    "work_mem",
)
# The files of earlier versions do not have it.
_OPTIONAL = ("visible_pages",)
_CHOICES = {"kind": ("table", "partitioned", "matview")}


class StatisticsFault(UsageFault):
    """The file with production's statistics cannot be used.

    Attributes:
        file: Path of the file.
        key: The place in it, ``relations[3].rows``; empty for the whole file.
    """

    def __init__(self, file: str, key: str, problem: str, *, hint: str = _EXPORT_HINT) -> None:
        # It may be meant as a URL, if it is no file.
        super().__init__(f"{mask_password(file)}: {key + ': ' if key else ''}{problem}", hint=hint)
        self.file = file
        self.key = key


@frozen
class _FileLocation:
    """A place in the file, for error messages."""

    file: str
    key: str

    def build_fault(self, problem: str) -> StatisticsFault:
        return StatisticsFault(self.file, self.key, problem)

    def enter_key(self, key: str) -> _FileLocation:
        return _FileLocation(self.file, f"{self.key}.{key}" if self.key else key)

    def enter_item(self, number: int) -> _FileLocation:
        return _FileLocation(self.file, f"{self.key}[{number}]")


def load_statistics(path: Path) -> Statistics:
    """Return the statistics of an exported file.

    Raises:
        StatisticsFault: If it is missing, not JSON, of another version, or has a wrong key or value.
    """
    at = _FileLocation(str(path), "")
    document = _check_object(_read(path), at)
    _check_version(document, at)
    relations = _build_list(_require(document, "relations", at), at.enter_key("relations"), _build_relation)
    _check_names(relations, at)
    return Statistics(
        taken_at=_parse_moment(_require(document, "taken_at", at), at.enter_key("taken_at")),
        server=_make_builder(ServerFacts)(_require(document, "server", at), at.enter_key("server")),
        settings=_check_settings(_require(document, "settings", at), at.enter_key("settings")),
        relations={relation.name: relation for relation in relations},
        transactions=_make_builder(Transactions)(
            _require(document, "transactions", at), at.enter_key("transactions")
        ),
        probe=_make_builder(Probe)(_require(document, "probe", at), at.enter_key("probe")),
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


def _check_version(document: Mapping[str, Any], at: _FileLocation) -> None:
    version = _require(document, "stats_version", at)
    if version != STATS_VERSION:
        raise StatisticsFault(
            at.file,
            "stats_version",
            f"this confiture reads version {STATS_VERSION}, but the file has version {version!r}",
            hint="export the file again with this confiture, or install the version that wrote it",
        )


def _check_names(relations: tuple[RelationStatistics, ...], at: _FileLocation) -> None:
    seen: set[str] = set()
    for number, relation in enumerate(relations):
        if relation.name in seen:
            raise (
                at.enter_key("relations")
                .enter_item(number)
                .enter_key("name")
                .build_fault(f"{relation.name} appears twice")
            )
        seen.add(relation.name)
    for number, relation in enumerate(relations):
        if relation.parent is not None and relation.parent not in seen:
            problem = f"there is no relation {relation.parent}"
            raise at.enter_key("relations").enter_item(number).enter_key("parent").build_fault(problem)


def _build_relation(value: Any, at: _FileLocation) -> RelationStatistics:
    lists = {
        "indexes": _make_builder(Index),
        "columns": _make_builder(ColumnStatistics),
        "triggers": _make_builder(Trigger),
    }
    return _make_builder(RelationStatistics, lists)(value, at)


def _make_builder(
    shape: type[_T], lists: Mapping[str, Callable[[Any, _FileLocation], Any]] | None = None
) -> Callable[[Any, _FileLocation], _T]:
    """Return a function that builds a value of this class from an object with its keys and no others.

    Args:
        shape: The class.
        lists: How to build the items of those attributes that are lists of objects.
    """
    hints = get_type_hints(shape)
    names = [field.name for field in fields(shape)]  # type: ignore[arg-type]

    def make(value: Any, at: _FileLocation) -> _T:
        document = _check_object(value, at)
        if unknown := [key for key in document if key not in names]:
            raise at.enter_key(unknown[0]).build_fault("there is no such key")
        given = {}
        for name in names:
            if name in _OPTIONAL and name not in document:
                continue
            item, place = _require(document, name, at), at.enter_key(name)
            build_item = lists.get(name) if lists else None
            given[name] = (
                _build_list(item, place, build_item)
                if build_item
                else _check_value(item, hints[name], name, place)
            )
        return shape(**given)

    return make


def _check_value(value: Any, hint: Any, name: str, at: _FileLocation) -> Any:
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return _build_list(value, at, lambda item, place: _check_value(item, inner, "", place))
    if isinstance(hint, UnionType):
        hint, optional = get_args(hint)[0], True
        if value is None and optional:
            return None
    if name in _CHOICES:
        return _check_choice(value, _CHOICES[name], at)
    return _check_number(value, hint, name, at) if hint in (int, float) else _check_type(value, hint, at)


def _check_choice(value: Any, choices: tuple[str, ...], at: _FileLocation) -> str:
    if value not in choices:
        raise at.build_fault(f"must be one of {', '.join(choices)}, but is {value!r}")
    return str(value)


def _check_number(value: Any, hint: type, name: str, at: _FileLocation) -> Any:
    right = isinstance(value, int | float) if hint is float else isinstance(value, int)
    # In Python, True is an int.
    if isinstance(value, bool) or not right:
        raise at.build_fault(f"must be {_TYPE_WORDS[hint]}, but is {value!r}")
    # json reads NaN and Infinity; only n_distinct may be negative.
    if value != value or abs(value) == float("inf") or (value < 0 and name != "distinct"):
        raise at.build_fault(f"cannot be {value}")
    return hint(value)


def _check_type(value: Any, hint: type, at: _FileLocation) -> Any:
    if not isinstance(value, hint):
        raise at.build_fault(f"must be {_TYPE_WORDS[hint]}, but is {value!r}")
    return value


def _check_object(value: Any, at: _FileLocation) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _check_type(value, dict, at)
    return found


def _build_list(value: Any, at: _FileLocation, make: Callable[[Any, _FileLocation], _T]) -> tuple[_T, ...]:
    return tuple(
        make(item, at.enter_item(number)) for number, item in enumerate(_check_type(value, list, at))
    )


def _require(document: Mapping[str, Any], key: str, at: _FileLocation) -> Any:
    if key not in document:
        raise at.enter_key(key).build_fault("is missing")
    return document[key]


def _check_settings(value: Any, at: _FileLocation) -> Mapping[str, Any]:
    settings = _check_object(value, at)
    for name, setting in settings.items():
        if not isinstance(setting, bool | int | float | str):
            raise at.enter_key(name).build_fault(f"must be a number, text, true or false, but is {setting!r}")
        if name in _NUMERIC_SETTINGS:
            _check_number(setting, float, "", at.enter_key(name))
    return settings


def _parse_moment(value: Any, at: _FileLocation) -> datetime:
    try:
        moment = datetime.fromisoformat(_check_type(value, str, at))
    except ValueError:
        raise at.build_fault(f"must be a time as in 2026-01-31T12:00:00+00:00, but is {value!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
