"""A migration as the rules read it: its statements as trees, and beside each what a rehearsal saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attrs import define, field

from confiture.models.report import MigrationReport, StatementReport
from confiture.rules.parse_tree import QualifiedName, find_created, find_renamed
from confiture.sql.procedural import parse_body

if TYPE_CHECKING:
    from confiture.rules.schema_model import SchemaModel

Ignores = tuple[tuple[str, str | None], ...]


@define(eq=False, slots=False)
class ParsedStatement:
    """One statement.

    Attributes:
        sql: Its text.
        line: 1-based, in the file.
        kind: The parser's name of its node.
        node: That node.
        migration: The migration it is in.
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
    migration: ParsedMigration = field(repr=False)
    index: int = 0
    ignores: Ignores = ()
    report: StatementReport | None = None
    inside: bool = False
    stmt: Any = field(init=False, repr=False)

    @stmt.default
    def _parse_own_tree(self) -> Any:
        return getattr(self.node, self.kind) if self.kind else None

    @property
    def earlier_statements(self) -> tuple[ParsedStatement, ...]:
        """The statements before it."""
        return tuple(self.migration.statements[: self.index])

    @cached_property
    def inner_statements(self) -> tuple[ParsedStatement, ...]:
        """The statements of a DO block, with their lines in the file; none for any other statement."""
        if self.kind != "do_stmt":
            return ()
        return tuple(
            ParsedStatement(
                sql=statement.sql,
                line=self._locate_inner_line(statement.line),
                kind=statement.kind,
                node=statement.node,
                migration=self.migration,
                index=self.index,
                report=self.report,
                inside=True,
            )
            for statement in parse_body(self.sql).statements
            if statement.sql is not None
        )

    def _locate_inner_line(self, line: int | None) -> int:
        # The block's own text starts on its line of the file. A Python migration is different: there
        # `line` is the line of the call, and the string may start elsewhere or be built by code.
        if line is None or self.migration.file.endswith(".py"):
            return self.line
        return self.line + line - 1

    def is_new(self, name: QualifiedName) -> bool:
        """Whether the relation is made earlier in this migration, or in one that goes with it."""
        return name in self.migration.list_new_before(self.index)


@define(eq=False, slots=False)
class ParsedMigration:
    """One migration.

    Attributes:
        version: As written.
        name: As written.
        file: To be shown: relative to the root, with slashes.
        transactional: Whether it runs in a transaction.
        lock_timeout: What it or the configuration says.
        statement_timeout: The same.
        statements: Its statements.
        ignores: Rules ignored in all of it.
        report: What a rehearsal saw; ``None`` without one.
        created_before: Relations that earlier migrations of the same plan make.
        plan: The migrations that it is judged with.
    """

    version: str
    name: str
    file: str
    transactional: bool = True
    lock_timeout: str | None = None
    statement_timeout: str | None = None
    statements: list[ParsedStatement] = field(factory=list)
    ignores: Ignores = ()
    report: MigrationReport | None = field(default=None, repr=False)
    created_before: frozenset[QualifiedName] = frozenset()
    plan: ParsedPlan | None = field(default=None, repr=False)

    @property
    def schema(self) -> SchemaModel:
        """What is known of the tables that it changes."""
        return (self.plan or ParsedPlan([self])).schema

    @property
    def label(self) -> str:
        """Version and name as a person reads them."""
        return f"{self.version} {self.name}".rstrip()

    def list_new_before(self, index: int) -> frozenset[QualifiedName]:
        """Return what is made before the statement with this index."""
        return self._created_by_statement[index]

    @cached_property
    def created_relations(self) -> frozenset[QualifiedName]:
        """All that is made up to the migration's end."""
        return self._created_by_statement[-1]

    @cached_property
    def _created_by_statement(self) -> tuple[frozenset[QualifiedName], ...]:
        return tuple(self._accumulate_created())

    def _accumulate_created(self) -> Iterator[frozenset[QualifiedName]]:
        made = self.created_before
        yield made
        for statement in self.statements:
            new = frozenset(find_created(statement.kind, statement.node))
            for old, renamed in find_renamed(statement.kind, statement.node):
                new |= {renamed} if old in made else frozenset()
            made = made | new if new else made
            yield made


@define(eq=False, slots=False)
class ParsedPlan:
    """Migrations that are judged together.

    Attributes:
        migrations: All of them.
        read_catalog: Returns what the catalog knows, where there is a server.
    """

    migrations: Sequence[ParsedMigration]
    read_catalog: Callable[[], SchemaModel] | None = None

    @cached_property
    def schema(self) -> SchemaModel:
        """What their text and the catalog tell; looked up when a rule first asks."""
        from confiture.rules.schema_model import SchemaModel, learn

        return learn(self.read_catalog() if self.read_catalog else SchemaModel(), self.migrations)


def link_plan(migrations: Sequence[ParsedMigration], asked: Callable[[], SchemaModel] | None = None) -> None:
    """Have migrations know of each other."""
    plan = ParsedPlan(migrations, asked)
    for migration in migrations:
        migration.plan = plan
