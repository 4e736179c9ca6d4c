"""A migration as the rules read it: its statements as trees, and beside each what a rehearsal saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attrs import define, field

from confiture.models.report import MigrationReport, StatementReport
from confiture.rules.parse_tree import Name, made_by, renamed_by
from confiture.sql.procedural import parse_body

if TYPE_CHECKING:
    from confiture.rules.schema_model import Known

Ignores = tuple[tuple[str, str | None], ...]


@define(eq=False, slots=False)
class Piece:
    """One statement.

    Attributes:
        sql: Its text.
        line: 1-based, in the file.
        kind: The parser's name of its node.
        node: That node.
        reading: The migration it is in.
        index: Its place there.
        ignores: Rules ignored here.
        report: What a rehearsal saw of it; ``None`` without one.
        inside: Whether it stands in a DO block.
        stmt: The statement's own tree.
    """

    sql: str
    line: int
    kind: str
    node: Any = field(repr=False)
    reading: Reading = field(repr=False)
    index: int = 0
    ignores: Ignores = ()
    report: StatementReport | None = None
    inside: bool = False
    stmt: Any = field(init=False, repr=False)

    @stmt.default
    def _own_tree(self) -> Any:
        return getattr(self.node, self.kind) if self.kind else None

    @property
    def earlier(self) -> tuple[Piece, ...]:
        """The statements before it."""
        return tuple(self.reading.pieces[: self.index])

    @cached_property
    def inner(self) -> tuple[Piece, ...]:
        """The statements of a DO block, with their lines in the file; none for any other statement."""
        if self.kind != "do_stmt":
            return ()
        return tuple(
            Piece(
                sql=statement.sql,
                line=self._line_inside(statement.line),
                kind=statement.kind,
                node=statement.node,
                reading=self.reading,
                index=self.index,
                report=self.report,
                inside=True,
            )
            for statement in parse_body(self.sql).statements
            if statement.sql is not None
        )

    def _line_inside(self, line: int | None) -> int:
        # The block's own text starts on its line of the file. A Python migration is different: there
        # `line` is the line of the call, and the string may start elsewhere or be built by code.
        if line is None or self.reading.file.endswith(".py"):
            return self.line
        return self.line + line - 1

    def is_new(self, name: Name) -> bool:
        """Whether the relation is made earlier in this migration, or in one that goes with it."""
        return name in self.reading.new_before(self.index)


@define(eq=False, slots=False)
class Reading:
    """One migration.

    Attributes:
        version: As written.
        name: As written.
        file: To be shown: relative to the root, with slashes.
        transactional: Whether it runs in a transaction.
        lock_timeout: What it or the configuration says.
        statement_timeout: The same.
        pieces: Its statements.
        ignores: Rules ignored in all of it.
        report: What a rehearsal saw; ``None`` without one.
        made_before: Relations that earlier migrations of the same plan make.
        plan: The migrations that it is judged with.
    """

    version: str
    name: str
    file: str
    transactional: bool = True
    lock_timeout: str | None = None
    statement_timeout: str | None = None
    pieces: list[Piece] = field(factory=list)
    ignores: Ignores = ()
    report: MigrationReport | None = field(default=None, repr=False)
    made_before: frozenset[Name] = frozenset()
    plan: Together | None = field(default=None, repr=False)

    @property
    def known(self) -> Known:
        """What is known of the tables that it changes."""
        return (self.plan or Together([self])).known

    @property
    def label(self) -> str:
        """Version and name as a person reads them."""
        return f"{self.version} {self.name}".rstrip()

    def new_before(self, index: int) -> frozenset[Name]:
        """Return what is made before the statement with this index."""
        return self._made[index]

    @cached_property
    def made(self) -> frozenset[Name]:
        """All that is made up to the migration's end."""
        return self._made[-1]

    @cached_property
    def _made(self) -> tuple[frozenset[Name], ...]:
        return tuple(self._growing())

    def _growing(self) -> Iterator[frozenset[Name]]:
        made = self.made_before
        yield made
        for piece in self.pieces:
            new = frozenset(made_by(piece.kind, piece.node))
            for old, renamed in renamed_by(piece.kind, piece.node):
                new |= {renamed} if old in made else frozenset()
            made = made | new if new else made
            yield made


@define(eq=False, slots=False)
class Together:
    """Migrations that are judged together.

    Attributes:
        readings: All of them.
        asked: Returns what the catalog knows, where there is a server.
    """

    readings: Sequence[Reading]
    asked: Callable[[], Known] | None = None

    @cached_property
    def known(self) -> Known:
        """What their text and the catalog tell; looked up when a rule first asks."""
        from confiture.rules.schema_model import Known, learn

        return learn(self.asked() if self.asked else Known(), self.readings)


def together(readings: Sequence[Reading], asked: Callable[[], Known] | None = None) -> None:
    """Have migrations know of each other."""
    plan = Together(readings, asked)
    for reading in readings:
        reading.plan = plan
