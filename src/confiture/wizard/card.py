"""The card that an operator decides on: one migration, its risks and the recommended way to run it."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from confiture.models.report import Finding, HookReport, MigrationReport, RecipeFile

Level = Literal["low", "medium", "high"]
Aspect = Literal["compatibility", "data loss", "performance", "locking"]
StrategyKind = Literal["run", "run-with-timeout", "build-concurrently", "split", "quiet-window"]
LEVELS: tuple[Level, ...] = ("low", "medium", "high")


@frozen
class Risk:
    """One aspect of a migration's risk.

    Attributes:
        aspect: What is at risk.
        level: How much.
        reason: What was measured, or found in the text, in one sentence.
    """

    aspect: Aspect
    level: Level
    reason: str


@frozen
class RunStrategy:
    """A way to run a migration.

    Attributes:
        kind: The way.
        advice: What to do, in one sentence.
        files: The migrations to write in place of the file, for ``build-concurrently`` and ``split``.
        sessions: The sessions that are in the way now, for ``quiet-window``.
        checked: What the rehearsal of the files showed, in a sentence; ``None`` without files.
        differences: What is otherwise at the end of the files.
    """

    kind: StrategyKind
    advice: str
    files: tuple[RecipeFile, ...] = ()
    sessions: tuple[str, ...] = ()
    checked: str | None = None
    differences: tuple[str, ...] = ()


@frozen
class Undo:
    """How a migration can be undone.

    Attributes:
        way: The command and what it runs, or why there is no way.
        loses: What is lost by it; ``None`` if nothing is.
    """

    way: str
    loses: str | None = None


@frozen
class Card:
    """One pending migration, for a decision.

    Attributes:
        migration: What the rehearsal reported of it.
        statements: Its SQL, statement by statement.
        does: What it does, in a sentence.
        risks: The four aspects, in order.
        time: How long production would take, or what the rehearsal measured and why no more is known.
        hooks: The hooks that ran in the rehearsal.
        undo: How to undo it.
        strategy: The recommended way to run it.
        findings: What the gate found, ignored findings left out.
    """

    migration: MigrationReport
    statements: tuple[str, ...]
    does: str
    risks: tuple[Risk, ...]
    time: str
    hooks: tuple[HookReport, ...]
    undo: Undo
    strategy: RunStrategy
    findings: tuple[Finding, ...] = ()

    @property
    def level(self) -> Level:
        """The highest level of the four risks."""
        return max((risk.level for risk in self.risks), key=LEVELS.index, default="low")
