"""Check digits of cards (Luhn) and of bank accounts (IBAN): test them, and make them right."""

from __future__ import annotations


def is_luhn(text: str) -> bool:
    """Return True if the digits of ``text`` end in the right check digit."""
    digits = [character for character in text if character.isalnum()]
    return all(map(str.isdecimal, digits)) and len(digits) > 1 and _sum_luhn(digits) % 10 == 0


def is_iban(text: str) -> bool:
    """Return True if ``text`` is an IBAN with the right check digits."""
    plain = "".join(character for character in text.upper() if not character.isspace())
    well_formed = plain.isascii() and plain.isalnum() and 15 <= len(plain) <= 34 and plain[:2].isalpha()
    return well_formed and plain[2:4].isdecimal() and _remainder(plain) == 1


def complete_luhn(characters: list[str], original: str, places: list[int]) -> None:
    """Make the last of the digits at ``places`` the check digit of the others; wrong if it was wrong before.

    By as much as in ``original``: two texts that differ in the check digit alone must not become one.
    """
    digits = [characters[place] for place in places]
    before = [original[place] for place in places]
    if len(digits) < 2 or not all(map(str.isdecimal, before)):
        return
    off = int(before[-1]) - _choose_luhn(before[:-1])
    characters[places[-1]] = str((_choose_luhn(digits[:-1]) + off) % 10)


def complete_iban(characters: list[str], original: str, places: list[int]) -> None:
    """Make the third and the fourth character the check digits, as :func:`complete_luhn` does."""
    before = [original[place].upper() for place in places]
    plain = "".join(before)
    if len(before) < 5 or not plain.isascii() or not plain[2:4].isdecimal():
        return
    after = "".join(characters[place].upper() for place in places)
    off = int(plain[2:4]) - _choose_iban(plain)
    for place, digit in zip(places[2:4], f"{(_choose_iban(after) + off) % 100:02}", strict=True):
        characters[place] = digit


def _choose_luhn(digits: list[str]) -> int:
    return -_sum_luhn([*digits, "0"]) % 10


def _choose_iban(iban: str) -> int:
    return 98 - _remainder(f"{iban[:2]}00{iban[4:]}")


def _sum_luhn(digits: list[str]) -> int:
    doubled = (int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits)))
    return sum(number - 9 if number > 9 else number for number in doubled)


def _remainder(iban: str) -> int:
    return int("".join(str(int(letter, 36)) for letter in iban[4:] + iban[:4])) % 97
