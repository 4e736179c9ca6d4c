"""Define a rule, its example and the hits it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

from confiture.rules.check_rule import check_fields, check_hit, check_rule

if TYPE_CHECKING:
    from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement
    from confiture.rules.recipes import Recipe
    from confiture.schema.judged_schema import JudgedSchema

Severity = Literal["error", "warning", "info", "off"]
Basis = Literal["static", "measured", "either"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info", "off")


@frozen
class Hit:
    """Something that a rule found in a migration.

    Attributes:
        message: What happens. It is shown after the file and the line.
        relation: The relation it happens to, as the SQL text names it.
        recipe: SQL to paste instead, with the names of the migration: a text is one migration.
        severity: Overrides the rule's severity, for example if this form of the statement holds its lock
            only briefly.
        line: Overrides the statement's line.
        sure: False if only a rehearsal can tell whether this statement does it.
        adds_to: The lines whose errors make this hit a repetition: if one of them has an error of another
            rule, the hit is dropped.
        part: In a schema, the column, constraint or index of the relation that it is about.
    """

    message: str
    relation: str | None = None
    recipe: Recipe | str | None = None
    severity: Severity | None = None
    line: int | None = None
    sure: bool = True
    adds_to: tuple[int, ...] = ()
    part: str | None = None

    def __attrs_post_init__(self) -> None:
        check_hit(self)


@frozen
class Example:
    """A migration that a rule warns of. Tests run it, and the recipe that the rule writes for it.

    Attributes:
        schema: SQL that creates the tables which the migration changes.
        dangerous: SQL of the migration.
        differs: How the schema after the recipe differs from the schema after the migration, as a clause;
            ``None`` if both are the same.
        transactional: False if the migration begins with ``-- confiture: no-transaction``.
        instead: Of a rule about schemas, the same migration without the fault. Other rules write a recipe.
    """

    schema: str
    dangerous: str
    differs: str | None = None
    transactional: bool = True
    instead: str | None = None

    def __attrs_post_init__(self) -> None:
        check_fields(self)


@frozen
class Rule:
    """One danger: how to detect it, why it matters and what to do instead.

    Attributes:
        id: The name in configuration and in ``ignore`` comments.
        severity: The default severity; configuration may change it.
        basis: What a finding rests on. ``"static"``: the SQL text is enough. ``"measured"``: only a
            rehearsal can tell. ``"either"``: the text is enough, and a rehearsal confirms or withdraws the
            finding.
        summary: What the migration contains, in one line.
        effect: What PostgreSQL does: the rest of a sentence that begins with "PostgreSQL".
        risk: What that costs the users of the database, as a clause.
        check: Yields a hit for each thing it finds in one statement.
        check_migration: Yields a hit for each thing it finds in a whole migration.
        check_schema: Yields a hit for each thing it finds in the schema of a database. Only
            ``lint --schema`` calls it.
        needs: The keys of ``[tool.confiture.schema]``, such as ``"cqrs.write"``, without which a rule about
            schemas is off.
        confirmed_by: Returns True if the rehearsal of the statement shows what the hit says.
        likely_by_text: Returns True if the text makes the hit likely. It decides where a dry-run could not
            rehearse a statement, for a rule whose ``basis`` is ``"measured"``.
        kinds: The parser's names of the statements that ``check`` is called with; all if empty.
        subcommands: The commands of an ALTER TABLE that ``check`` is called with; all if empty.
        rehearsed_only: True if the rule looks only at what a rehearsal saw; ``lint`` does not call it.
        example: ``None`` if there is nothing to run.
        remedy: What to do instead, if that is not SQL to paste.
        plugin: The plugin that it comes from, which confiture sets; ``None`` if it is built in.
    """

    id: str
    severity: Severity
    basis: Basis
    summary: str
    effect: str
    risk: str
    check: Callable[[ParsedStatement], Iterable[Hit]] | None = field(default=None, repr=False)
    check_migration: Callable[[ParsedMigration], Iterable[Hit]] | None = field(default=None, repr=False)
    check_schema: Callable[[JudgedSchema], Iterable[Hit]] | None = field(default=None, repr=False)
    needs: tuple[str, ...] = ()
    confirmed_by: Callable[[Hit, ParsedStatement], bool] | None = field(default=None, repr=False)
    likely_by_text: Callable[[Hit, ParsedStatement], bool] | None = field(default=None, repr=False)
    kinds: tuple[str, ...] = ()
    subcommands: tuple[str, ...] = ()
    rehearsed_only: bool = False
    example: Example | None = field(default=None, repr=False)
    remedy: str | None = None
    plugin: str | None = None

    def __attrs_post_init__(self) -> None:
        check_rule(self)

    @property
    def judges_schema(self) -> bool:
        """True if only ``lint --schema`` applies the rule."""
        return self.check_schema is not None or bool(self.needs)
