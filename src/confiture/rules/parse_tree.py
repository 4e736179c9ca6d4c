"""Read names, commands, columns and constraints from PostgreSQL's parse tree."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any

from attrs import field, frozen

from confiture.sql.parser import find_nodes, read_enum_name
from confiture.sql.quote import quote_ident, quote_name

# NAMEDATALEN - 1 of a PostgreSQL with default build options.
_LONGEST_NAME_BYTES = 63
_REL_WORD = re.compile(r'"(?:[^"]|"")*"|[^."]+')


def _hide_own_schema(schema: str | None) -> str | None:
    # `orders` and `public.orders` are the same table under the default search_path, so the names are equal.
    return None if schema in ("", "public") else schema


@frozen
class QualifiedName:
    """A relation as SQL text names it.

    Attributes:
        schema: ``None`` if the text names no schema, and for ``public``.
        name: The name without quotes.
        written: The schema as written, ``public`` included; not compared.
    """

    schema: str | None = field(converter=_hide_own_schema)
    name: str
    written: str | None = field(default=None, eq=False)

    def __str__(self) -> str:
        return quote_name(self.written or self.schema, self.name)

    def name_sibling(self, name: str) -> QualifiedName:
        """Return another name in the same schema, written with the schema if this one is."""
        return QualifiedName(self.schema, name, self.written)

    def is_rel(self, rel: str | None) -> bool:
        """Return True if ``rel``, a relation as a report spells it, is this one."""
        return rel is not None and (
            rel == str(QualifiedName(self.schema, self.name, self.schema or "public"))
            if self.schema
            else rel.endswith(f".{quote_ident(self.name)}") or rel == quote_ident(self.name)
        )


def read_name(relation: Any) -> QualifiedName:
    """Return the name in a ``RangeVar``."""
    return _make_name(relation.schemaname, relation.relname)


@lru_cache
def _make_name(schema: str, name: str) -> QualifiedName:
    return QualifiedName(schema, name, schema or None)


def read_rel(rel: str) -> QualifiedName:
    """Return the name of a relation as a report spells it, ``public."Odd Table"``."""
    words = [word.strip('"').replace('""', '"') for word in _REL_WORD.findall(rel)]
    schema = words[-2] if len(words) > 1 else None
    return QualifiedName(schema, words[-1], schema)


def read_name_list(strings: Iterable[Any]) -> QualifiedName:
    """Return the name in a list of string nodes, as in DROP TABLE."""
    # A catalog name may come first, so count from the end.
    words = [string.string.sval for string in strings]
    schema = words[-2] if len(words) > 1 else None
    return QualifiedName(schema, words[-1], schema)


def derive_name(first: str, second: str, label: str) -> str:
    """Return the name that PostgreSQL chooses for an unnamed index, constraint or sequence.

    Does the same as ``makeObjectName`` in PostgreSQL's ``indexcmds.c``: if the name is too long, it shortens
    the longer of table and column, never the label.
    """
    lengths = [len(first.encode()), len(second.encode())]
    fixed = len(label) + 1 + (1 if second else 0)
    while sum(lengths) + fixed > _LONGEST_NAME_BYTES:
        lengths[0 if lengths[0] > lengths[1] else 1] -= 1
    # A character of several bytes that is cut is left out as a whole.
    parts = [
        part.encode()[:length].decode(errors="ignore")
        for part, length in zip((first, second), lengths, strict=True)
    ]
    return "_".join(part for part in (*parts, label) if part)


@frozen
class TakenNames:
    """The names that a new constraint or index of a table cannot have.

    Attributes:
        names: The names.
        own: True if they were read after the statement ran, so that its own names are among them.
    """

    names: frozenset[str] = frozenset()
    own: bool = False

    def choose(self, first: str, second: str, label: str, also: Collection[str] = (), left: int = 1) -> str:
        """Return the name that PostgreSQL gives: the first that is free, with a number behind the label.

        Where the statement has run already, that is the last of the row, or the last but one if ``left`` is 2
        because the statement has another such name to give.
        """
        row = [derive_name(first, second, label)]
        while row[-1] in self.names or row[-1] in also:
            row.append(derive_name(first, second, f"{label}{len(row)}"))
        ran = [name for name in row if name in self.names] if self.own else []
        return ran[-left] if len(ran) >= left else row[-1]


@frozen
class AlterCommand:
    """One command of an ALTER TABLE.

    Attributes:
        sort: PostgreSQL's name of the command, ``"AT_AddColumn"``.
        tree: The command's tree, an ``AlterTableCmd``.
    """

    sort: str
    tree: Any

    @property
    def definition(self) -> Any:
        """The node that the command defines: a column, a constraint or a partition."""
        # The field is called `def`, a keyword in Python.
        return getattr(self.tree, "def")


def list_commands(stmt: Any) -> Iterator[AlterCommand]:
    """Yield the commands of an ALTER TABLE."""
    for cmd in stmt.cmds:
        tree = cmd.alter_table_cmd
        yield AlterCommand(read_enum_name(tree, "subtype"), tree)


@frozen
class ParsedConstraint:
    """A constraint of a table or of a new column.

    Attributes:
        sort: PostgreSQL's name of the kind, ``"CONSTR_CHECK"``.
        tree: The constraint's tree.
        column: The column if this is a column constraint; ``None`` for a table constraint.
    """

    sort: str
    tree: Any
    column: Any = None


def list_added_columns(stmt: Any) -> Iterator[Any]:
    """Yield the columns that an ALTER TABLE adds."""
    for command in list_commands(stmt):
        if command.sort == "AT_AddColumn":
            yield command.definition.column_def


def list_constraints(column: Any) -> Iterator[ParsedConstraint]:
    """Yield the constraints of a column definition."""
    for constraint in column.constraints:
        yield ParsedConstraint(
            read_enum_name(constraint.constraint, "contype"), constraint.constraint, column
        )


def find_constraints(stmt: Any) -> Iterator[Any]:
    """Yield the trees of the constraints of a CREATE TABLE: table constraints, then column constraints."""
    for elt in stmt.table_elts:
        if elt.HasField("constraint"):
            yield elt.constraint
    for elt in stmt.table_elts:
        if elt.HasField("column_def"):
            for constraint in elt.column_def.constraints:
                yield constraint.constraint


def list_table_constraints(stmt: Any) -> Iterator[ParsedConstraint]:
    """Yield the constraints of a CREATE TABLE, those of its columns too."""
    for elt in stmt.table_elts:
        if elt.HasField("constraint"):
            yield ParsedConstraint(read_enum_name(elt.constraint, "contype"), elt.constraint)
        elif elt.HasField("column_def"):
            yield from list_constraints(elt.column_def)


_CONSTRAINT_LABELS = {
    "CONSTR_FOREIGN": "fkey",
    "CONSTR_NOTNULL": "not_null",
    "CONSTR_PRIMARY": "pkey",
    "CONSTR_UNIQUE": "key",
}


def name_constraint(constraint: ParsedConstraint) -> tuple[str, str]:
    """Return the words and the label that PostgreSQL names a constraint by; no label for others."""
    if constraint.sort == "CONSTR_CHECK":
        columns = find_columns(constraint.tree.raw_expr)
        return columns[0] if len(columns) == 1 else "", "check"
    label = _CONSTRAINT_LABELS.get(constraint.sort, "")
    if label in ("", "pkey"):
        return "", label
    including = [item.string.sval for item in constraint.tree.including]
    return "_".join((*list_keys(constraint), *including)), label


def list_added_constraints(stmt: Any) -> Iterator[ParsedConstraint]:
    """Yield the constraints that an ALTER TABLE adds, including those of new columns."""
    for command in list_commands(stmt):
        if command.sort == "AT_AddConstraint":
            tree = command.definition.constraint
            yield ParsedConstraint(read_enum_name(tree, "contype"), tree)
        elif command.sort == "AT_AddColumn":
            yield from list_constraints(command.definition.column_def)


def list_keys(constraint: ParsedConstraint) -> tuple[str, ...]:
    """Return the columns of a UNIQUE, PRIMARY KEY, FOREIGN KEY or NOT NULL constraint."""
    if constraint.column is not None:
        return (constraint.column.colname,)
    listed = constraint.tree.fk_attrs if constraint.sort == "CONSTR_FOREIGN" else constraint.tree.keys
    return tuple(item.string.sval for item in listed)


def find_columns(expression: Any) -> tuple[str, ...]:
    """Return the columns that an expression names, without repetition."""
    found = (
        ref.fields[-1].string.sval
        for ref in find_nodes(expression, "ColumnRef")
        if ref.fields[-1].HasField("string")
    )
    return tuple(dict.fromkeys(found))


def render_type(type_name: Any) -> str:
    """Return the name of a type in lower case, without its schema."""
    return str(type_name.names[-1].string.sval).lower() if type_name.names else ""


def find_functions(expression: Any) -> Iterator[str]:
    """Yield the names of the functions that an expression calls, in lower case, without schemas."""
    for call in find_nodes(expression, "FuncCall"):
        yield call.funcname[-1].string.sval.lower()


def find_created(kind: str, node: Any) -> Iterator[QualifiedName]:
    """Yield the relations that a statement creates."""
    if kind == "create_stmt":
        yield read_name(node.create_stmt.relation)
    elif kind == "create_table_as_stmt":
        yield read_name(node.create_table_as_stmt.into.rel)
    elif kind == "create_foreign_table_stmt":
        yield read_name(node.create_foreign_table_stmt.base_stmt.relation)
    elif kind == "view_stmt":
        yield read_name(node.view_stmt.view)
    elif kind == "index_stmt" and node.index_stmt.idxname:
        yield read_name(node.index_stmt.relation).name_sibling(node.index_stmt.idxname)
    elif kind == "select_stmt" and node.select_stmt.HasField("into_clause"):
        yield read_name(node.select_stmt.into_clause.rel)


def may_skip(kind: str, node: Any) -> bool:
    """Return True if a statement creates nothing where the relation exists: IF NOT EXISTS, OR REPLACE."""
    if kind == "view_stmt":
        return bool(node.view_stmt.replace)
    return kind in ("create_stmt", "create_table_as_stmt", "index_stmt") and getattr(node, kind).if_not_exists


def find_renamed(kind: str, node: Any) -> Iterator[tuple[QualifiedName, QualifiedName]]:
    """Yield the old and the new name of the relation that a statement renames or moves to a schema."""
    if kind == "rename_stmt" and read_enum_name(node.rename_stmt, "rename_type") in (
        "OBJECT_TABLE",
        "OBJECT_MATVIEW",
    ):
        old = read_name(node.rename_stmt.relation)
        yield old, old.name_sibling(node.rename_stmt.newname)
    elif kind == "alter_object_schema_stmt" and node.alter_object_schema_stmt.HasField("relation"):
        old = read_name(node.alter_object_schema_stmt.relation)
        new = node.alter_object_schema_stmt.newschema
        yield old, QualifiedName(new, old.name, new)
