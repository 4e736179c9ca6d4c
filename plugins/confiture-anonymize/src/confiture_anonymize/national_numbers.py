"""Recognize the numbers that states give to people, by their check digits.

The rules are those of the issuing authorities, as Wikipedia's article on each number has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from confiture_anonymize.check_digits import is_luhn

_SPANISH_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_FINNISH_SIGNS = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_ITALIAN_CODE = re.compile(
    r"[A-Z]{6}[\dLMNPQRSTUV]{2}[A-EHLMPRST][\dLMNPQRSTUV]{2}[A-Z][\dLMNPQRSTUV]{3}[A-Z]"
)
# What a character counts at an odd place: a letter by its number from 0 to 25, a digit by itself.
_ITALIAN_ODD = (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
)  # fmt: skip


def _is_french(text: str) -> bool:
    """INSEE's NIR: 97 less the rest of the first thirteen digits; 2A and 2B are Corsica."""
    if not re.fullmatch(r"[12]\d{4}(?:\d\d|2[AB])\d{8}", text):
        return False
    digits = text.replace("2A", "19").replace("2B", "18")
    return 97 - int(digits[:13]) % 97 == int(digits[13:])


def _is_spanish(text: str) -> bool:
    """DNI and NIE: a letter by the rest of 23."""
    if not re.fullmatch(r"(?:\d|[XYZ])\d{7}[A-Z]", text):
        return False
    return _SPANISH_LETTERS[int(text[:-1].translate(str.maketrans("XYZ", "012"))) % 23] == text[-1]


def _is_dutch(text: str) -> bool:
    """BSN: the eleven test."""
    return _has_digits(text, 9) and _weigh(text, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _is_polish(text: str) -> bool:
    """PESEL."""
    return _has_digits(text, 11) and _weigh(text, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def _is_belgian(text: str) -> bool:
    """Rijksregisternummer: 97 less the rest of the first nine digits, for those born since 2000 after a 2."""
    if not _has_digits(text, 11):
        return False
    return int(text[9:]) in (97 - int(text[:9]) % 97, 97 - int(f"2{text[:9]}") % 97)


def _is_italian(text: str) -> bool:
    """Codice fiscale: a letter by the rest of 26."""
    if not _ITALIAN_CODE.fullmatch(text):
        return False
    numbers = [int(sign) if sign.isdecimal() else ord(sign) - ord("A") for sign in text[:-1]]
    total = sum(_ITALIAN_ODD[number] if place % 2 == 0 else number for place, number in enumerate(numbers))
    return chr(ord("A") + total % 26) == text[-1]


def _is_swedish(text: str) -> bool:
    """Personnummer: the last of ten digits by Luhn."""
    return bool(re.fullmatch(r"(?:\d\d)?\d{6}[+]?\d{4}", text)) and is_luhn(text.replace("+", "")[-10:])


def _is_norwegian(text: str) -> bool:
    """Fødselsnummer: two check digits by the rest of 11."""
    return (
        _has_digits(text, 11)
        and _weigh(text, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11 == 0
        and _weigh(text, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0
    )


def _is_finnish(text: str) -> bool:
    """Henkilötunnus: a sign by the rest of 31."""
    found = re.fullmatch(r"(\d{6})[+A-FU-Y]?(\d{3})([0-9A-FHJ-NPR-Y])", text)
    return bool(found) and _FINNISH_SIGNS[int(found[1] + found[2]) % 31] == found[3] if found else False


def _is_brazilian(text: str) -> bool:
    """CPF: two check digits by the rest of 11."""
    return (
        _has_digits(text, 11)
        and _weigh(text, range(10, 1, -1)) * 10 % 11 % 10 == int(text[9])
        and _weigh(text, range(11, 1, -1)) * 10 % 11 % 10 == int(text[10])
    )


_CHECKS: tuple[Callable[[str], bool], ...] = (
    _is_french,
    _is_spanish,
    _is_dutch,
    _is_polish,
    _is_belgian,
    _is_italian,
    _is_swedish,
    _is_norwegian,
    _is_finnish,
    _is_brazilian,
)


def is_national_number(text: str) -> bool:
    """Return True if a text has the shape and the check digits of one of these numbers."""
    plain = re.sub(r"[\s./-]", "", text.upper())
    return 9 <= len(plain) <= 16 and plain.isascii() and any(check(plain) for check in _CHECKS)


def _has_digits(text: str, count: int) -> bool:
    # The same digit over and over passes several of the checks, and is nobody's number.
    return len(text) == count and text.isdecimal() and len(set(text)) > 1


def _weigh(text: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(text, weights, strict=False))
