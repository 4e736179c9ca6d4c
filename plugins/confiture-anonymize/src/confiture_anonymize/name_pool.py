"""Make pools of names, addresses and companies that belong to nobody."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from attrs import frozen

from confiture_anonymize.errors import ProfileFault

POOL_SIZE = 1000
_PROVIDERS = {
    "name": "name",
    "first_name": "first_name",
    "last_name": "last_name",
    "company": "company",
    "street": "street_address",
    "city": "city",
    "address": "address",
    "job": "job",
    "user_name": "user_name",
}
KINDS = tuple(_PROVIDERS)


@frozen
class NamePool:
    """Different texts, one behind the other, each filled up with spaces to the same number of bytes.

    Attributes:
        text: All of them.
        size: How many there are.
        width_bytes: How many bytes each has in UTF-8, with its spaces.
    """

    text: str
    size: int
    width_bytes: int


@cache
def make_pool(kind: str, locale: str, max_chars: int | None) -> NamePool:
    """Return different texts of a kind, always the same for the same arguments; at least two.

    Raises:
        ProfileFault: There is no such locale, or hardly a text is short enough.
    """
    # Imported here: Faker takes a third of a second to import, and few commands need it.
    from faker import Faker

    try:
        faker = Faker(locale)
    except AttributeError:
        raise ProfileFault(f"Faker has no locale {locale!r}", hint='write one such as "de_DE"') from None
    faker.seed_instance(f"confiture {kind} {locale}")
    provide: Callable[[], str] = getattr(faker, _PROVIDERS[kind])
    # Some kinds have fewer than a thousand texts in a locale.
    drawn = (provide().replace("\n", ", ").strip() for _ in range(4 * POOL_SIZE))
    fitting = dict.fromkeys(text for text in drawn if max_chars is None or len(text) <= max_chars)
    pool = tuple(fitting)[:POOL_SIZE]
    if len(pool) < 2:
        raise ProfileFault(
            f"no {kind} of {locale} has {max_chars} characters or fewer", hint="use fixed or hash"
        )
    width = max(len(text.encode()) for text in pool)
    padded = (f"{text}{' ' * (width - len(text.encode()))}" for text in pool)
    return NamePool("".join(padded), len(pool), width)
