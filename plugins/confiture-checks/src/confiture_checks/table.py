"""A table of the configuration, read key by key; whatever is not usable is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from confiture.did_you_mean import did_you_mean
from confiture_checks.faults import Misconfigured


@frozen
class Table:
    """One table, its keys known.

    Attributes:
        place: Where it stands: ``plugin.checks.require``.
        given: What was written.
        keys: What may stand there, and what each means.
    """

    place: str
    given: Mapping[str, Any]
    keys: Mapping[str, str]

    @classmethod
    def read(cls, place: str, given: Any, keys: Mapping[str, str]) -> Table:
        """Return the table.

        Raises:
            Misconfigured: It is none, or has a key that there is not.
        """
        if not isinstance(given, Mapping):
            raise expected(place, given, f"a table with {', '.join(keys)}")
        for key in given:
            if key not in keys:
                near = did_you_mean(key, keys) or f"the keys are {', '.join(keys)}"
                raise Misconfigured(f"{place} has an unknown key {key!r}", hint=near)
        return cls(place, given, keys)

    def text(self, key: str) -> str:
        """Return a text that must be there."""
        if key not in self.given:
            raise Misconfigured(f"{self.place} has no {key!r}", hint=self.keys[key])
        value = self.given[key]
        if not isinstance(value, str) or not value.strip():
            raise self._expected(key, "a text in quotes")
        return value

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """Return one of ``choices``, the first where none is given."""
        value = self.given.get(key, choices[0])
        if value not in choices:
            raise self._expected(key, f"one of {', '.join(map(repr, choices))}")
        return str(value)

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of names, empty where none is given."""
        value = self.given.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self._expected(key, "a list of names in quotes")
        return tuple(value)

    def flag(self, key: str) -> bool:
        """Return true or false, the latter where nothing is given."""
        value = self.given.get(key, False)
        if not isinstance(value, bool):
            raise self._expected(key, "true or false")
        return value

    def number(self, key: str) -> int | None:
        """Return a whole number that is not negative, ``None`` where none is given."""
        value = self.given.get(key)
        if key in self.given and (type(value) is not int or value < 0):
            raise self._expected(key, "a whole number, 0 or more")
        return value

    def _expected(self, key: str, what: str) -> Misconfigured:
        return expected(f"{self.place}.{key}", self.given[key], what)


def expected(place: str, given: Any, what: str) -> Misconfigured:
    """Return the fault of a value that is not what it should be; the value itself is never shown."""
    shown = "not usable" if isinstance(given, str) else f"a {type(given).__name__}"
    return Misconfigured(f"{place} is {shown}", hint=f"expected is {what}")
