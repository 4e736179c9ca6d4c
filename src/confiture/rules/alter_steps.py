"""Collect the steps of one ALTER TABLE, and make migrations of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field

from confiture.rules.parse_tree import AlterCommand, QualifiedName, derive_name, read_name
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import NO_TRANSACTION, NOTHING_TO_UNDO, RecipePart, render_alter
from confiture.rules.undo_alter import drop_constraints, undo_commands
from confiture.sql.quote import quote_ident


@define
class AlterSteps:
    """The steps of one ALTER TABLE while they are collected.

    Attributes:
        statement: The ALTER TABLE.
        kept: Its commands that change only the catalog, changed so that none does more.
        brief: Statements that follow them in the same migration.
        brief_undo: What undoes those statements, while the new columns are there.
        outside: Backfills and index builds.
        outside_undo: What undoes the index builds.
        required: Columns to make NOT NULL.
        nullable: Those of them that surely are not NOT NULL before.
        late: Foreign keys that need the new indexes, to add NOT VALID at the end and validate after it.
        validated: Constraints to validate.
        last: Commands that use the new indexes.
        last_undo: What undoes them, and leaves the indexes; ``None`` for a command if that is not known.
        ends: Statements for the end.
        filled: True if rows are filled, so that NOT NULL must wait for that.
        differs: In what the result differs.
        named: The names that were chosen.
        chosen: How many names of each kind were chosen.
        wanted: How many will be chosen in all.
    """

    statement: ParsedStatement
    kept: list[AlterCommand] = field(factory=list)
    brief: list[str] = field(factory=list)
    brief_undo: list[str] = field(factory=list)
    outside: list[str] = field(factory=list)
    outside_undo: list[str] = field(factory=list)
    required: list[str] = field(factory=list)
    nullable: set[str] = field(factory=set)
    late: list[AlterCommand] = field(factory=list)
    validated: list[str] = field(factory=list)
    last: list[str] = field(factory=list)
    last_undo: list[tuple[str, ...] | None] = field(factory=list)
    ends: list[str] = field(factory=list)
    filled: bool = False
    differs: list[str] = field(factory=list)
    named: list[str] = field(factory=list)
    chosen: Counter[tuple[str, str]] = field(factory=Counter)
    wanted: Counter[tuple[str, str]] = field(factory=Counter)

    @property
    def table(self) -> QualifiedName:
        """The table that is altered."""
        return read_name(self.statement.stmt.relation)

    @property
    def head(self) -> str:
        """How a further ALTER TABLE of it begins."""
        stmt = self.statement.stmt
        return (
            f"ALTER TABLE {'IF EXISTS ' if stmt.missing_ok else ''}"
            f"{'' if stmt.relation.inh else 'ONLY '}{self.table}"
        )

    def choose_name(self, words: str, label: str) -> str:
        """Return a name that is not taken, for a constraint of this kind."""
        taken = self.statement.migration.schema.find_taken_names(self.table, self.statement)
        left = self.wanted[words, label] - self.chosen[words, label]
        name = taken.choose(self.table.name, words, label, self.named, max(left, 1))
        self.named.append(name)
        self.chosen[words, label] += 1
        return name


def assemble_parts(steps: AlterSteps) -> Iterator[RecipePart]:
    """Yield the migrations."""
    stmt, required = steps.statement.stmt, tuple(dict.fromkeys(steps.required))
    notes = [f"-- differs: {text}" for text in steps.differs]
    brief = [render_alter(stmt, steps.kept)] if steps.kept else []
    brief += steps.brief
    names = [quote_ident(derive_name(steps.table.name, column, "filled")) for column in required]
    checks = ", ".join(
        f"ADD CONSTRAINT {name} CHECK ({quote_ident(column)} IS NOT NULL) NOT VALID"
        for name, column in zip(names, required, strict=True)
    )
    if checks and not steps.filled:
        brief.append(f"{steps.head} {checks};")
    drops = (drop_constraints(steps.head, names),) if checks else ()
    if notes or brief:
        yield RecipePart((*notes, *brief), down=_undo_brief(steps, () if steps.filled else drops))
    if steps.outside:
        nothing = (f"{NOTHING_TO_UNDO}the values go with the new column",)
        yield RecipePart(
            tuple(steps.outside), outside=True, down=tuple(reversed(steps.outside_undo)) or nothing
        )
    if checks and steps.filled:
        yield RecipePart((f"{steps.head} {checks};",), down=drops)
    yield from _assemble_end(steps, names, required, checks)


def _undo_brief(steps: AlterSteps, drops: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return what undoes the first migration; ``None`` if the state before is not known."""
    undone = undo_commands(steps.head, steps.kept)
    return None if undone is None else (*drops, *steps.brief_undo, *undone)


def _assemble_end(
    steps: AlterSteps, names: Sequence[str], required: Sequence[str], checks: str
) -> Iterator[RecipePart]:
    end: list[str] = []
    validated = [*map(quote_ident, steps.validated), *names]
    if validated:
        end.append(f"{steps.head} {_render_validations(validated)};")
    if required:
        # Since version 12 PostgreSQL skips the scan of SET NOT NULL if a valid CHECK proves it. In one
        # transaction, because VALIDATE scans before SET NOT NULL takes its strong lock.
        settings = ", ".join(f"ALTER COLUMN {quote_ident(column)} SET NOT NULL" for column in required)
        end += [
            f"{steps.head} {settings};",
            f"{steps.head} {', '.join(f'DROP CONSTRAINT {name}' for name in names)};",
        ]
    end += [*steps.last, *steps.ends]
    if steps.late:
        end.append(render_alter(steps.statement.stmt, steps.late))
    if end:
        yield RecipePart(tuple(end), down=_undo_end(steps, required, checks))
    names = [quote_ident(command.definition.constraint.conname) for command in steps.late]
    if names:
        yield RecipePart((f"{steps.head} {_render_validations(names)};",), down=(_STAYS_VALID,))


_STAYS_VALID = f"{NOTHING_TO_UNDO}a constraint that holds for all rows stays valid"


def _undo_end(steps: AlterSteps, required: Sequence[str], checks: str) -> tuple[str, ...] | None:
    """Return what undoes the last migration, and leaves what those before it have made."""
    # A column of a primary key may have been NOT NULL before.
    if steps.ends or None in steps.last_undo or not steps.nullable.issuperset(required):
        return None
    late = [quote_ident(command.definition.constraint.conname) for command in steps.late]
    lines = [drop_constraints(steps.head, late)] if late else []
    lines += [line for undone in reversed(steps.last_undo) for line in undone or ()]
    if required:
        allows = ", ".join(f"ALTER COLUMN {quote_ident(column)} DROP NOT NULL" for column in required)
        lines += [f"{steps.head} {checks};", f"{steps.head} {allows};"]
    # DROP CONSTRAINT drops its index too, which is built again as it was.
    header = (NO_TRANSACTION,) if steps.last_undo else ()
    return (*header, *lines) if lines else (_STAYS_VALID,)


def _render_validations(names: Iterable[str]) -> str:
    return ", ".join(f"VALIDATE CONSTRAINT {name}" for name in names)
