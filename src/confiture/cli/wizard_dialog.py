"""Ask an operator about each migration of a plan, one card at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Literal

import click
from attrs import Factory, define, evolve, field, frozen

from confiture.exceptions import UsageFault
from confiture.models.report import RecipeFile, Report
from confiture.wizard.card import Card
from confiture.wizard.wizard_session import WizardSession

Choice = Literal["run", "skip", "split", "preview", "details", "save", "stop"]
_KEYS: Mapping[str, Choice] = {
    "r": "run",
    "p": "preview",
    "d": "details",
    "s": "skip",
    "w": "split",
    "v": "save",
    "q": "stop",
}
_PROMPT = "[r]un  [p]review the SQL  [d]etails  [s]kip  {split}sa[v]e  [q]uit"
ANSWERS = ("run", "skip", "split", "save", "stop")


@frozen
class Answers:
    """What flags answer in advance.

    Attributes:
        choices: The choice by version; ``all`` for those not named.
        database: The database's name, which a high risk asks for; ``None`` to ask.
        applies: True to run the approved plan, False to only save it; ``None`` to ask.
    """

    choices: Mapping[str, str] = Factory(dict)
    database: str | None = None
    applies: bool | None = None

    def find(self, *versions: str) -> str | None:
        """Return the choice for the first of these versions that a flag names, else that for all."""
        named = next((version for version in versions if version in self.choices), "all")
        return self.choices.get(named)

    def refuse_without_terminal(self) -> None:
        """Refuse to begin if something would have to be asked, and there is nobody to answer.

        Raises:
            click.UsageError: It names the flags that answer.
        """
        if _has_terminal():
            return
        if "all" not in self.choices or self.applies is None:
            raise click.UsageError(
                "the wizard asks questions, and there is no terminal; answer them with flags: "
                "--choose all=run, --choose V=skip or V=split, --database NAME for a high risk, "
                "and --apply or --no-apply"
            )


@define
class Dialog:
    """Shows cards and asks; flags answer first.

    Attributes:
        answers: What flags answer.
        database: The name that a high risk asks for.
        rehearsal: The report of the rehearsal that the cards are from.
        origins: The version that was split, for each version of a split; a flag for it counts for them too.
        written: The files of the splits so far: a flag does not write the same ones again.
    """

    answers: Answers
    database: str = ""
    rehearsal: Report = field(factory=lambda: Report("dry-run", "ok", 0))
    origins: dict[str, str] = Factory(dict)
    written: set[tuple[RecipeFile, ...]] = Factory(set)

    def may_split(self, card: Card) -> bool:
        """Return False if a flag has chosen something else."""
        return self._find_answer(card) in (None, "split")

    def remember_split(self, card: Card, versions: Iterable[str]) -> None:
        """Remember that a migration was split into these versions."""
        version = card.migration.version
        origin = self.origins.get(version, version)
        self.origins.update(dict.fromkeys(versions, origin))
        self.written.add(card.strategy.files)

    def _find_answer(self, card: Card) -> str | None:
        version = card.migration.version
        return self.answers.find(version, self.origins.get(version, version))

    def decide(self, session: WizardSession, card: Card) -> Choice:
        """Show a card and return what to do with it: ``run``, ``skip``, ``split``, ``save`` or ``stop``.

        Raises:
            UsageFault: A flag's answer does not fit, and there is no terminal to ask at.
        """
        self._show(session, card)
        given = self._find_answer(card)
        if given == "split" and self._is_split_enough(card):
            given = "run"
        while True:
            choice = self._read_choice(card, given)
            given = None
            if choice == "preview":
                show_sql(card)
            elif choice == "details":
                show_details(card, self.rehearsal)
            elif choice == "run" and not self._confirm(card):
                click.echo("not confirmed: it does not run", err=True)
            else:
                return choice

    def confirm_plan(self, count: int) -> bool:
        """Ask whether to run the approved plan now; Enter means no."""
        if self.answers.applies is not None:
            return self.answers.applies
        noun = "migration" if count == 1 else "migrations"
        return click.confirm(f"run {count} {noun} on {self.database} now?", default=False, err=True)

    def _show(self, session: WizardSession, card: Card) -> None:
        from rich.console import Console

        from confiture.wizard.draw_card import draw_card

        console = Console(stderr=True, highlight=False)
        console.print(draw_card(card, session.cards.index(card) + 1, len(session.cards)))

    def _is_split_enough(self, card: Card) -> bool:
        """Return True if a flag's split was written, or was meant for those migrations that have one."""
        version, files = card.migration.version, card.strategy.files
        named = version in self.answers.choices and version not in self.origins
        return files in self.written if files else not named

    def _read_choice(self, card: Card, given: str | None) -> Choice:
        can_split = bool(card.strategy.files)
        if given is not None:
            if given == "split" and not can_split:
                raise UsageFault(
                    f"--choose {card.migration.version}=split: there is no split of it",
                    hint=card.strategy.checked or "choose run or skip",
                )
            for choice in _KEYS.values():
                if choice == given:
                    return choice
        prompt = _PROMPT.format(split="[w]rite the split  " if can_split else "")
        while True:
            key = click.prompt(prompt, default="", show_default=False, err=True).strip().lower()
            typed = _KEYS.get(key[:1])
            if typed and (typed != "split" or can_split):
                return typed
            click.echo("type one of the letters in brackets", err=True)

    def _confirm(self, card: Card) -> bool:
        if card.level != "high":
            return True
        typed = self.answers.database
        if typed is None and not _has_terminal():
            # The risk is known only now, so `refuse_without_terminal` could not ask for the flag.
            raise UsageFault(
                f"the risk of {card.migration.version} is high, and there is no terminal to confirm it at",
                hint=f"add --database {self.database}, or --choose {card.migration.version}=skip; "
                "nothing was applied",
            )
        if typed is None:
            typed = click.prompt(
                f"the risk is high: type the name of the database, {self.database}, to run it",
                default="",
                show_default=False,
                err=True,
            )
        elif typed != self.database:
            raise UsageFault(
                f"--database {typed}: this is {self.database}", hint="check --url; nothing was applied"
            )
        return typed == self.database


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def show_sql(card: Card) -> None:
    """Print the SQL of a migration."""
    from confiture.escape import escape_code_lines

    for sql in card.statements:
        for line in escape_code_lines(f"{sql.rstrip().rstrip(';')};"):
            click.echo(f"    {line}", err=True)


def show_details(card: Card, rehearsal: Report) -> None:
    """Print all that the rehearsal measured of a migration, and the findings with their recipes."""
    from confiture.cli.error_messages import wants_colour
    from confiture.output.text import render

    report = evolve(
        rehearsal, migrations=(card.migration,), findings=card.findings, verdict=None, notes=(), residue=()
    )
    click.echo(render(report, colour=wants_colour(sys.stderr), verbose=True), err=True)
