"""Keep what an operator decided about each migration of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from attrs import Factory, evolve, frozen

from confiture.sql.created_names import find_created_names
from confiture.sql.lexer import tokenize
from confiture.wizard.card import Card

Decision = Literal["run", "skip"]


@frozen
class WizardSession:
    """The cards of a plan, and the decisions so far.

    Attributes:
        cards: One card a pending migration, in order.
        decisions: What was decided, by version.
    """

    cards: tuple[Card, ...]
    decisions: Mapping[str, Decision] = Factory(dict)

    @property
    def undecided(self) -> Card | None:
        """The first card without a decision."""
        return next((card for card in self.cards if card.migration.version not in self.decisions), None)

    @property
    def chosen(self) -> tuple[Card, ...]:
        """The cards of the migrations to run, in order."""
        return tuple(card for card in self.cards if self.decisions.get(card.migration.version) == "run")

    @property
    def skipped(self) -> tuple[Card, ...]:
        """The cards of the migrations that are not to run."""
        return tuple(card for card in self.cards if self.decisions.get(card.migration.version) == "skip")

    def replace(self, old: Card, new: Card) -> WizardSession:
        """Return the session with another card in the place of one."""
        return evolve(self, cards=tuple(new if card is old else card for card in self.cards))

    def decide(self, card: Card, decision: Decision) -> WizardSession:
        """Return the session with a decision; what depends on a skipped migration is skipped with it."""
        added: dict[str, Decision] = {card.migration.version: decision}
        if decision == "skip":
            added |= dict.fromkeys(
                (dependent.migration.version for dependent in self.find_dependents(card)), "skip"
            )
        return evolve(self, decisions={**self.decisions, **added})

    def find_dependents(self, card: Card) -> tuple[Card, ...]:
        """Return the later migrations whose text names what this one, or one of them, creates."""
        at = self.cards.index(card)
        created = set(_find_created(card))
        found = []
        for later in self.cards[at + 1 :]:
            if created & _find_words(later):
                found.append(later)
                created |= _find_created(later)
        return tuple(found)


def _find_created(card: Card) -> frozenset[str]:
    names = (find_created_names(sql) for sql in card.statements)
    return frozenset(name for found in names for name in found or ())


def _find_words(card: Card) -> frozenset[str]:
    return frozenset(word for sql in card.statements for word in _list_words(sql))


def _list_words(sql: str) -> Sequence[str]:
    return [
        sql[token.start : token.end].strip('"')
        for token in tokenize(sql)
        if not token.trivial and token.kind != "semicolon"
    ]
