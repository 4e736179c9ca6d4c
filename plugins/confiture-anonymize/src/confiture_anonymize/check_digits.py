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


def complete_luhn(characters: list[str], places: list[int]) -> None:
    """Make the last of the digits at ``places`` the check digit of the others."""
    digits = [characters[place] for place in places]
    if len(digits) < 2 or not all(map(str.isdecimal, digits)):
        return
    wrong = _sum_luhn([*digits[:-1], "0"]) % 10
    characters[places[-1]] = str((10 - wrong) % 10)


def complete_iban(characters: list[str], places: list[int]) -> None:
    """Make the third and the fourth character at ``places`` the check digits of the others."""
    letters = [characters[place].upper() for place in places]
    if len(letters) < 5 or not "".join(letters).isascii():
        return
    letters[2:4] = "00"
    for place, digit in zip(places[2:4], f"{98 - _remainder(''.join(letters)):02}", strict=True):
        characters[place] = digit


def _sum_luhn(digits: list[str]) -> int:
    doubled = (int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits)))
    return sum(number - 9 if number > 9 else number for number in doubled)


def _remainder(iban: str) -> int:
    return int("".join(str(int(letter, 36)) for letter in iban[4:] + iban[:4])) % 97
