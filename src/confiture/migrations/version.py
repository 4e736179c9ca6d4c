"""Parse versions and the names of migration files. Versions compare number by number."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from attrs import frozen

from confiture.exceptions import UsageFault

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


def parse_version(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, for sorting and comparing.

    Raises:
        UsageFault: It is not a version.
    """
    if not _WRITTEN.fullmatch(version):
        raise UsageFault(
            f"{version!r} is not a version",
            hint="write numbers joined by '.' or '_', as in 20260131120000 or 03.04.00_01",
        )
    return tuple(int(number) for number in re.split("[._]", version))


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
