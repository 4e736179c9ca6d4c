"""Represent a migration for the rules: parsed statements, each with what a rehearsal measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from attrs import define, field

from confiture.models.report import MigrationReport, StatementReport
from confiture.rules.parse_tree import QualifiedName, find_created, find_renamed, may_skip
from confiture.rules.search_path import SearchPath
from confiture.sql.directives import Ignores
from confiture.sql.procedural import parse_body

if TYPE_CHECKING:
    from confiture.rules.schema_model import SchemaModel
    from confiture.schema.judged_schema import JudgedSchema


@define(eq=False, slots=False)
class ParsedStatement:
    """One statement of a migration.

    Attributes:
        sql: The text.
        line: The line in the file, counted from 1.
        kind: The parser's name of the statement, ``"index_stmt"``; empty if it was not parsed.
        node: The parser's node, which wraps ``stmt``; with the schemas that the search path adds.
        migration: The migration that contains the statement.
        index: The position in ``migration.statements``, counted from 0. A statement inside a DO block has
            that of the block.
        ignores: Rules to ignore for this statement, each with its reason.
        report: What a rehearsal measured; ``None`` without a rehearsal. A statement inside a DO block has
            that of the block.
        inside: True if the statement is inside a DO block.
        span: Where the statement begins and ends in ``migration.text``, without its semicolon.
        search_path: Where PostgreSQL looks for names without a schema.
        stmt: The statement's tree, as libpg_query returns it.
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
    span: tuple[int, int] = (0, 0)
    search_path: SearchPath = field(factory=SearchPath)
    stmt: Any = field(init=False, repr=False)

    @stmt.default
    def _parse_own_tree(self) -> Any:
        return getattr(self.node, self.kind) if self.kind else None

    @property
    def earlier_statements(self) -> tuple[ParsedStatement, ...]:
        """The statements before this one in the migration."""
        return tuple(self.migration.statements[: self.index])

    def list_run_before(self) -> tuple[ParsedStatement, ...]:
        """Return the statements before this one, with those inside DO blocks after their block."""
        ran = (
            inner
            for statement in self.migration.statements[: self.index + 1]
            for inner in (statement, *statement.inner_statements)
        )
        return tuple(takewhile(lambda statement: statement is not self, ran))

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
                node=self.search_path.qualify(statement.kind, statement.node),
                migration=self.migration,
                index=self.index,
                report=self.report,
                inside=True,
                search_path=self.search_path,
            )
            for statement in parse_body(self.sql).statements
            if statement.sql is not None
        )

    def _locate_inner_line(self, line: int | None) -> int:
        # In an SQL file the block's text starts on the block's line. In a Python migration `self.line` is the
        # line of the call, and the string may start elsewhere or be built by code.
        if line is None or self.migration.file.endswith(".py"):
            return self.line
        return self.line + line - 1

    def is_new(self, name: QualifiedName) -> bool:
        """Return True if this plan created the relation before this statement: nobody else uses it yet."""
        new = self.migration.list_new_before(self.index)
        if name in new or name.written or len(self.search_path.schemas) < 2:
            return name in new
        return any(QualifiedName(schema, name.name) in new for schema in self.search_path.schemas)


@define(eq=False, slots=False)
class ParsedMigration:
    """One migration.

    Attributes:
        version: The version as the file name has it.
        name: The name as the file name has it.
        file: The path to show: relative to the root, with slashes.
        transactional: True if the migration runs in one transaction.
        lock_timeout: As the migration sets it, else the configuration; ``None`` if neither does.
        statement_timeout: As the migration sets it, else the configuration; ``None`` if neither does.
        statements: The statements, in order.
        ignores: Rules to ignore in the whole migration, each with its reason.
        report: What a rehearsal measured; ``None`` without a rehearsal.
        created_before: Relations that earlier migrations of the same plan create. Empty in ``lint`` of a
            whole folder: without a server nobody knows which migrations are already applied.
        there_before: Relations that merged migrations create. ``CREATE … IF NOT EXISTS`` does not make them
            new.
        empty_in_production: Relations that hold no rows in production, by its statistics.
        rehearsal: True if it is judged after a rehearsal, even if it could not be rehearsed itself.
        judged_schema: What ``lint --schema`` judges; ``None`` elsewhere.
        plan: The migrations that are judged together with this one.
        text: The file's text; empty for a migration in Python.
        divider: The lines that begin the two directions in another tool's file; ``None`` if it has none.
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
    text: str = field(default="", repr=False)
    divider: tuple[str, str] | None = None
    there_before: frozenset[QualifiedName] = frozenset()
    empty_in_production: frozenset[str] = frozenset()
    rehearsal: bool = False
    judged_schema: JudgedSchema | None = field(default=None, repr=False)

    def add_statement(
        self,
        sql: str,
        line: int,
        kind: str,
        node: Any,
        *,
        ignores: Ignores = (),
        report: StatementReport | None = None,
        span: tuple[int, int] = (0, 0),
    ) -> None:
        """Append a statement, whose names are found along the search path that those before it have set."""
        path = SearchPath()
        if self.statements:
            last = self.statements[-1]
            path = last.search_path.follow(last.kind, last.node, transactional=self.transactional)
        statement = ParsedStatement(sql, line, kind, path.qualify(kind, node), self, len(self.statements))
        statement.ignores, statement.report, statement.span = ignores, report, span
        statement.search_path = path
        self.statements.append(statement)

    @property
    def schema(self) -> SchemaModel:
        """What the plan and the catalog tell about the tables that the migration changes."""
        return (self.plan or ParsedPlan([self])).schema

    @property
    def label(self) -> str:
        """Version and name, for people to read."""
        return f"{self.version} {self.name}".rstrip()

    def list_new_before(self, index: int) -> frozenset[QualifiedName]:
        """Return the relations that the plan creates before the statement with this index."""
        return self._created_by_statement[index]

    @cached_property
    def created_relations(self) -> frozenset[QualifiedName]:
        """All relations that this migration and those before it create."""
        return self._created_by_statement[-1]

    @cached_property
    def _created_by_statement(self) -> tuple[frozenset[QualifiedName], ...]:
        return tuple(self._accumulate_created())

    def _accumulate_created(self) -> Iterator[frozenset[QualifiedName]]:
        created = self.created_before
        yield created
        for statement in self.statements:
            for inner in (statement, *statement.inner_statements):
                added = frozenset(self._list_created(inner))
                for old, renamed in find_renamed(inner.kind, inner.node):
                    # A new relation stays new under its new name; an existing one must not become new.
                    added |= {renamed} if old in created else frozenset()
                created = created | added if added else created
            yield created

    def _list_created(self, statement: ParsedStatement) -> Iterator[QualifiedName]:
        there = self.there_before if may_skip(statement.kind, statement.node) else ()
        return (name for name in find_created(statement.kind, statement.node) if name not in there)


@define(eq=False, slots=False)
class ParsedPlan:
    """Migrations that are judged together.

    Attributes:
        migrations: The migrations, in order.
        read_catalog: Reads the schema from the server's catalog; ``None`` without a server.
    """

    migrations: Sequence[ParsedMigration]
    read_catalog: Callable[[], SchemaModel] | None = None

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """The position of each migration, by its file."""
        return {migration.file: position for position, migration in enumerate(self.migrations)}

    @cached_property
    def last_creations(self) -> Mapping[QualifiedName, int]:
        """The position of the last migration that creates a relation, by its name."""
        return {
            name: position
            for position, migration in enumerate(self.migrations)
            for name in migration.created_relations - migration.created_before
        }

    @cached_property
    def schema(self) -> SchemaModel:
        """What the migrations' text and the catalog tell, read when a rule first asks."""
        # Imported here because schema_model imports this module.
        from confiture.rules.schema_model import SchemaModel, learn

        return learn(self.read_catalog() if self.read_catalog else SchemaModel(), self.migrations)


def link_plan(migrations: Sequence[ParsedMigration], asked: Callable[[], SchemaModel] | None = None) -> None:
    """Set the plan of each migration, so that rules see the schema that the others create."""
    plan = ParsedPlan(migrations, asked)
    for migration in migrations:
        migration.plan = plan
