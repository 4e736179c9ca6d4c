"""Tell from a sample what the values of a column are."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from attrs import frozen

from confiture_anonymize.check_digits import is_iban, is_luhn
from confiture_anonymize.name_dictionary import load_names
from confiture_anonymize.national_numbers import is_national_number
from confiture_anonymize.source_schema import Sort

# The share of sampled values that must look alike before the column counts as that kind.
_SHARE = 0.6
_FIRST_ROWS = 40
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_EMAIL_WITHIN = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")
# No date.
_PHONE = re.compile(r"(?!\d{4}-\d\d-\d\d)\+?[\d][\d\s()./-]{6,18}\d")
_CARD = re.compile(r"[\d][\d -]{11,22}\d")
# No check digit; these three groups are no other number's.
_AMERICAN = re.compile(r"(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}")


def is_address(text: str) -> bool:
    """Return True if a text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@frozen
class Detector:
    """What values of a column may be.

    Attributes:
        words: That, in words.
        matches: Returns True if a value is one.
        rule: What to write in a profile for a text.
        sorts: The sorts of columns that may hold it.
        other_rule: What to write for a column of another sort.
    """

    words: str
    matches: Callable[[str], bool]
    rule: str
    sorts: tuple[Sort, ...] = ("text",)
    other_rule: str = '"hash"'


_NUMBERS: tuple[Sort, ...] = ("text", "integer")
_DETECTORS = (
    Detector("e-mail addresses", lambda text: bool(_EMAIL.fullmatch(text)), '"email"'),
    Detector("IBANs", is_iban, '{ strategy = "pattern", check = "iban" }'),
    Detector(
        "card numbers",
        lambda text: bool(_CARD.fullmatch(text)) and is_luhn(text),
        '{ strategy = "pattern", check = "luhn" }',
        _NUMBERS,
    ),
    Detector(
        "national numbers",
        lambda text: is_national_number(text) or bool(_AMERICAN.fullmatch(text)),
        '"pattern"',
        _NUMBERS,
    ),
    Detector("IP addresses", is_address, '"hash"'),
    Detector("phone numbers", lambda text: bool(_PHONE.fullmatch(text)), '"phone"'),
    Detector(
        "first names",
        lambda text: load_names().is_first_name(text),
        '{ strategy = "pseudonym", of = "first_name" }',
    ),
    Detector(
        "last names",
        lambda text: load_names().is_last_name(text),
        '{ strategy = "pseudonym", of = "last_name" }',
    ),
    Detector(
        "names", lambda text: load_names().is_full_name(text), '{ strategy = "pseudonym", of = "name" }'
    ),
    Detector(
        "texts with e-mail addresses",
        lambda text: bool(_EMAIL_WITHIN.search(text)),
        '"redact"',
        ("text", "json"),
        '{ strategy = "fixed", value = "{}" }',
    ),
)


def detect(values: Sequence[str], sort: Sort = "text") -> tuple[str, str] | None:
    """Return what most of the values are, in words, and the rule for it; ``None`` if it is not known."""
    texts = [value.strip() for value in values if value.strip()]
    for detector in _DETECTORS:
        if sort in detector.sorts and _match_most(texts, detector.matches):
            return detector.words, detector.rule if sort == "text" else detector.other_rule
    return None


def _match_most(texts: Sequence[str], matches: Callable[[str], bool]) -> bool:
    first = texts[:_FIRST_ROWS]
    # Of most columns, most detectors need not look at all values.
    if not texts or sum(map(matches, first)) < _SHARE / 2 * len(first):
        return False
    return sum(map(matches, texts)) >= _SHARE * len(texts)
