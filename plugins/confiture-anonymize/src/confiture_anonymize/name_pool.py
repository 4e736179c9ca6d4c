"""Make pools of names, addresses and companies that belong to nobody."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from confiture_anonymize.errors import ProfileFault

POOL_SIZE = 1000
SEPARATOR = "\x1f"
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


@cache
def make_pool(kind: str, locale: str, max_chars: int | None) -> tuple[str, ...]:
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
    drawn = (provide().replace("\n", ", ") for _ in range(4 * POOL_SIZE))
    fitting = dict.fromkeys(text for text in drawn if max_chars is None or len(text) <= max_chars)
    pool = tuple(fitting)[:POOL_SIZE]
    if len(pool) < 2:
        raise ProfileFault(
            f"no {kind} of {locale} has {max_chars} characters or fewer", hint="use fixed or hash"
        )
    return pool
