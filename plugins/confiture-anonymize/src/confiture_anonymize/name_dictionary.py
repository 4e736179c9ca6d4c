"""Recognize names of people by the dictionaries that Faker has of many countries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module

from attrs import frozen

_LOCALES = (
    "cs_CZ da_DK de_DE en_GB en_IN en_US es_ES fi_FI fr_FR hu_HU it_IT nl_NL no_NO pl_PL pt_BR pt_PT ro_RO"
    " sv_SE tr_TR"
)
_MAX_WORDS = 4


@frozen
class NameDictionary:
    """The first and last names of many countries.

    Attributes:
        first: First names.
        last: Last names.
    """

    first: frozenset[str]
    last: frozenset[str]

    def is_first_name(self, text: str) -> bool:
        """Return True if a text is one first name, or two with a hyphen."""
        return all(_spell(part) in self.first for part in text.split("-"))

    def is_last_name(self, text: str) -> bool:
        """Return True if a text is one last name, or two with a hyphen."""
        return all(_spell(part) in self.last for part in text.split("-"))

    def is_full_name(self, text: str) -> bool:
        """Return True if a text is a first name and a last name, in either order."""
        # Initials and titles say nothing: "Dr.", "J."
        words = [word for word in re.split(r"[\s,]+", text) if word and not word.endswith(".")]
        known = [self.is_first_name(word) or self.is_last_name(word) for word in words]
        return 2 <= len(words) <= _MAX_WORDS and all(known) and any(map(self.is_first_name, words))


@cache
def load_names() -> NameDictionary:
    """Return the dictionary, read once."""
    return NameDictionary(frozenset(_list_names("first_name")), frozenset(_list_names("last_name")))


def _list_names(kind: str) -> Iterator[str]:
    for locale in _LOCALES.split():
        provider = import_module(f"faker.providers.person.{locale}").Provider
        for attribute in dir(provider):
            value = getattr(provider, attribute)
            # Lists, or names with how often they are.
            if kind in attribute and not callable(value):
                yield from value


def _spell(word: str) -> str:
    return word.title() if word.isupper() else word
