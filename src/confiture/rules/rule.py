"""What a rule is, and what it says of one statement."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

if TYPE_CHECKING:
    from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement

Severity = Literal["error", "warning", "info", "off"]
Basis = Literal["static", "measured", "either"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info", "off")


@frozen
class Hit:
    """Something that a rule has found.

    Attributes:
        message: What happens, to be read after the file and the line.
        relation: What it happens to, as the text names it.
        recipe: SQL to paste instead, with the reader's own names.
        severity: Where it differs from the rule's; a lock that this form of a statement holds only briefly.
        line: Where it is not the statement's.
        sure: ``False``: only a rehearsal can tell whether this one does it.
    """

    message: str
    relation: str | None = None
    recipe: str | None = None
    severity: Severity | None = None
    line: int | None = None
    sure: bool = True


@frozen
class Example:
    """A migration that a rule warns of; tests run it, and the recipe that the rule makes of it.

    Attributes:
        schema: What there is before.
        dangerous: The migration.
        differs: Why the recipe ends in another schema, where it does.
        transactional: ``False``: with ``-- confiture: no-transaction``.
    """

    schema: str
    dangerous: str
    differs: str | None = None
    transactional: bool = True


@frozen
class Rule:
    """One thing to be warned of.

    Attributes:
        id: Its name, in configuration and comments.
        severity: By default.
        basis: What a finding rests on: ``"static"``: the text is enough; ``"measured"``: only a rehearsal
            can tell; ``"either"``: the text, and a rehearsal confirms or withdraws it.
        summary: One line.
        effect: What PostgreSQL does.
        risk: What that costs its users.
        check: Returns what it finds in one statement.
        check_migration: Returns what it finds in a whole migration.
        confirmed_by: Whether the rehearsal of the statement shows what was found.
        kinds: The parser's names of the statements it looks at; without any, all.
        subcommands: Of an ALTER TABLE, the commands that it looks at; without any, all.
        rehearsed_only: Whether it looks at nothing but what a rehearsal saw: without one it is not asked.
        example: ``None`` where there is nothing to run.
        remedy: What to do instead, if that is no SQL to paste.
    """

    id: str
    severity: Severity
    basis: Basis
    summary: str
    effect: str
    risk: str
    check: Callable[[ParsedStatement], Iterable[Hit]] | None = field(default=None, repr=False)
    check_migration: Callable[[ParsedMigration], Iterable[Hit]] | None = field(default=None, repr=False)
    confirmed_by: Callable[[Hit, ParsedStatement], bool] | None = field(default=None, repr=False)
    kinds: tuple[str, ...] = ()
    subcommands: tuple[str, ...] = ()
    rehearsed_only: bool = False
    example: Example | None = field(default=None, repr=False)
    remedy: str | None = None
