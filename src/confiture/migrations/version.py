"""Parse versions and the names of migration files. Versions compare number by number."""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from attrs import frozen

from confiture.exceptions import UsageFault

# Compares and sorts like a tuple of numbers; see parse_version.
VersionKey = tuple[float | str, ...]
Part = Literal["whole", "up", "down", "check", "backfill", "python"]

_VERSION = r"[0-9]+(?:\.[0-9]+)*(?:_[0-9]+)*"
_WRITTEN = re.compile(r"[0-9]+(?:[._][0-9]+)*")
_STEM = re.compile(rf"(?P<version>{_VERSION})(?:_(?P<name>.+))?", re.DOTALL)
_TIMESTAMP = "%Y%m%d%H%M%S"
_SUFFIXES: tuple[tuple[str, Part], ...] = (
    (".up.sql", "up"),
    (".down.sql", "down"),
    (".check.sql", "check"),
    (".backfill.sql", "backfill"),
    (".sql", "whole"),
    (".py", "python"),
)


@frozen
class FileName:
    """The parts of a migration file's name.

    Attributes:
        version: As written.
        name: As written; empty if there is none.
        part: What the file contains: ``"whole"``, ``"up"``, ``"down"`` or ``"python"``; for a plugin's file
            ``"check"`` or ``"backfill"``.
    """

    version: str
    name: str
    part: Part


def parse_version(version: str) -> VersionKey:
    """Return a key that compares versions number by number: ``1`` equals ``001``, and ``2`` is below ``10``.

    The key of any other text, which some tools use as a version, equals only that of the same text. It sorts
    by the number that the text begins with, and after all numbers if it begins with none.
    """
    if _WRITTEN.fullmatch(version):
        return tuple(int(number) for number in re.split("[._]", version))
    digits = re.match("[0-9]*", version)
    number = int(digits[0]) if digits and digits[0] else math.inf
    # Infinity keeps numbers and text apart, because Python cannot compare the two.
    return (number, math.inf, version)


def check_version(version: str) -> str:
    """Return a version unchanged.

    Raises:
        UsageFault: It is not numbers joined by dots or underscores.
    """
    if not _WRITTEN.fullmatch(version):
        raise UsageFault(
            f"{version!r} is not a version",
            hint="write numbers joined by '.' or '_', as in 20260131120000 or 03.04.00_01",
        )
    return version


class VersionOrder:
    """The order of a source's migrations, which need not be that of their versions."""

    def __init__(self, versions: Iterable[str]) -> None:
        self._keys: Sequence[VersionKey] = [parse_version(version) for version in versions]
        self._places = {key: place for place, key in enumerate(self._keys)}

    def rank(self, key: VersionKey) -> tuple[float, VersionKey]:
        """Return what to sort by; a version without a file ranks where its number would be."""
        place = self._places.get(key)
        return (place, key) if place is not None else (bisect(self._keys, key) - 0.5, key)


def parse_filename(name: str) -> FileName | None:
    """Return the parts of a migration file's name; ``None`` if it is not a migration file's name."""
    for suffix, part in _SUFFIXES:
        if name.endswith(suffix):
            match = _STEM.fullmatch(name.removesuffix(suffix))
            return FileName(match["version"], match["name"] or "", part) if match else None
    return None


def choose_next_version(existing: Iterable[str], now: datetime) -> str:
    """Return the version of a new migration: UTC time, or the next number in a numbered folder."""
    versions = list(existing)
    # A folder that counts 0001, 0002 keeps counting, with as many digits.
    if versions and all(map(_is_plain_number, versions)):
        last = max(versions, key=int)
        return str(int(last) + 1).zfill(len(last))
    taken = {parse_version(version) for version in versions}
    moment = now.astimezone(UTC)
    while parse_version(moment.strftime(_TIMESTAMP)) in taken:
        moment += timedelta(seconds=1)
    return moment.strftime(_TIMESTAMP)


def _is_plain_number(version: str) -> bool:
    # 14 digits are a timestamp, which must not be counted up by one.
    return version.isdecimal() and len(version) != len("YYYYMMDDHHMMSS")
