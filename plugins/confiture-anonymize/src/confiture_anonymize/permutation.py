"""Permute the texts of one shape: a digit becomes a digit, a letter a letter, and no two become the same."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from math import isqrt
from typing import final

from attrs import evolve, frozen

from confiture_anonymize.check_digits import complete_iban, complete_luhn
from confiture_anonymize.keyed_hash import Key

_ROUNDS = 8
_DIGEST_BYTES = 32
_MIN_FREE = 4
# ASCII; then Latin with accents, Greek and Cyrillic.
_BLOCKS = (range(0x80), range(0xC0, 0x100), range(0x100, 0x180), range(0x370, 0x400), range(0x400, 0x500))


@frozen
class _Letter:
    """A letter or a digit.

    Attributes:
        alphabet: All that may stand in its place.
        radix: How many these are.
        index: Its place among them.
    """

    alphabet: str
    radix: int
    index: int


def _list_alphabets() -> Iterator[str]:
    for block in _BLOCKS:
        letters = [chr(code) for code in block if chr(code).isalpha()]
        yield "".join(filter(str.islower, letters))
        yield "".join(filter(str.isupper, letters))


_ALPHABETS = ("0123456789", *_list_alphabets())
_LETTERS = {
    character: _Letter(alphabet, len(alphabet), index)
    for alphabet in _ALPHABETS
    for index, character in enumerate(alphabet)
}


def _find_stand_in(character: str) -> _Letter:
    """Return the letter for a character of no alphabet: the only case in which two texts may become one."""
    upper = "A" if character.isupper() else "a"
    first = _LETTERS["0" if character.isdecimal() else upper]
    return evolve(first, index=ord(character) % first.radix)


@frozen
class ShapeMask:
    """Replaces the letters and digits of a text; what stands between them stays.

    Attributes:
        key: The secret.
        domain: The identity domain.
        keep_first: How many letters and digits at the start stay.
        keep_last: How many at the end stay.
        check: ``"luhn"`` or ``"iban"`` if the result has valid check digits; ``""`` for none.
    """

    key: Key
    domain: str
    keep_first: int = 0
    keep_last: int = 0
    check: str = ""

    def __call__(self, text: str) -> str:
        """Return the text of the same shape that stands for ``text``."""
        places = [place for place, character in enumerate(text) if character.isalnum()]
        free = self._choose_free(places)
        characters = list(text)
        self._replace(characters, free)
        # If all places are free, the check digits are permuted with the others.
        if len(free) < len(places):
            if self.check == "luhn":
                complete_luhn(characters, text, places)
            elif self.check == "iban":
                complete_iban(characters, text, places)
        return "".join(characters)

    def _choose_free(self, places: list[int]) -> list[int]:
        """Return the places whose characters change."""
        kept_first, kept_last = self.keep_first, self.keep_last
        if self.check == "luhn":
            kept_last = max(kept_last, 1)
        elif self.check == "iban":
            kept_first = max(kept_first, 4)
        # A text that is too short for what may stay keeps nothing, rather than all.
        free = places[kept_first : len(places) - kept_last]
        return free if len(free) >= min(_MIN_FREE, len(places)) else places

    def _replace(self, characters: list[str], free: list[int]) -> None:
        found = [_LETTERS.get(characters[place]) or _find_stand_in(characters[place]) for place in free]
        number, size = 0, 1
        for letter in found:
            number = number * letter.radix + letter.index
            size *= letter.radix
        if size == 1:
            return
        shape = "".join([letter.alphabet[0] for letter in found])
        permuted = rotate(self.key, f"{self.domain}:shape:{shape}", number, size)
        for place, letter in zip(reversed(free), reversed(found), strict=True):
            permuted, index = divmod(permuted, letter.radix)
            characters[place] = letter.alphabet[index]


@frozen
class NumberMask:
    """Replaces whole numbers by others with the same sign, no two by the same.

    Attributes:
        key: The secret.
        domain: The identity domain.
        bits: How many bits a number has, without its sign.
    """

    key: Key
    domain: str
    bits: int

    def __call__(self, text: str) -> str:
        """Return the number that stands for ``text``."""
        number = int(text)
        size = 2**self.bits
        if number >= 0:
            return str(rotate(self.key, f"{self.domain}:number", number, size))
        return str(-1 - rotate(self.key, f"{self.domain}:number", -1 - number, size))


def rotate(key: Key, tweak: str, number: int, size: int) -> int:
    """Return what a keyed cycle of the numbers below ``size`` makes of ``number``: never the number itself.

    A permutation alone has fixed points, so a code of three digits would often stay as it is. Going one step
    on between a permutation and its inverse has none, and still no two numbers get the same.
    """
    permutation = _Permutation(_derive_key(key, tweak), size)
    return permutation.apply((permutation.revert(number) + 1) % size)


@lru_cache(maxsize=1024)
def _derive_key(key: Key, tweak: str) -> bytes:
    return key.digest(tweak, "permutation")


@final
class _Permutation:
    """A Feistel network over the numbers below a size."""

    __slots__ = ("_key", "_left_size", "_parts", "_right_size", "_size")

    def __init__(self, key: bytes, size: int) -> None:
        self._key = key
        self._size = size
        self._left_size = isqrt(size - 1) + 1
        self._right_size = -(-size // self._left_size)
        # 64 bits more than a half has: what is added must reach its first digit, and evenly.
        self._parts = -(-(self._left_size.bit_length() + 64) // (8 * _DIGEST_BYTES))

    def apply(self, number: int) -> int:
        """Return the number that stands for ``number``."""
        while True:
            right, left = divmod(number, self._left_size)
            for turn in range(0, _ROUNDS, 2):
                left = (left + self._mix(turn, right)) % self._left_size
                right = (right + self._mix(turn + 1, left)) % self._right_size
            number = right * self._left_size + left
            # The rectangle is a little larger than `size`; walking on until inside keeps it a permutation.
            if number < self._size:
                return number

    def revert(self, number: int) -> int:
        """Return the number that ``number`` stands for."""
        while True:
            right, left = divmod(number, self._left_size)
            for turn in range(_ROUNDS - 2, -1, -2):
                right = (right - self._mix(turn + 1, left)) % self._right_size
                left = (left - self._mix(turn, right)) % self._left_size
            number = right * self._left_size + left
            if number < self._size:
                return number

    def _mix(self, turn: int, half: int) -> int:
        # BLAKE2 with a key, which takes a quarter of the time of HMAC-SHA-256; the key is made by that.
        message = b"%d:%d" % (turn, half)
        mixed = blake2b(message, key=self._key, digest_size=_DIGEST_BYTES).digest()
        for part in range(1, self._parts):
            mixed += blake2b(b"%d:%b" % (part, message), key=self._key, digest_size=_DIGEST_BYTES).digest()
        return int.from_bytes(mixed)
