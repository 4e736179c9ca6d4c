"""Say in a sentence what a migration does, from the text of its statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from confiture.rules.parse_tree import list_commands, read_name
from confiture.sql.parser import ParseError, parse, read_enum_name
from confiture.sql.quote import quote_ident

_MOST = 4
_COMMANDS = {
    "AT_AddColumn": "adds column {name} to {table}",
    "AT_DropColumn": "drops column {name} of {table}",
    "AT_AlterColumnType": "changes the type of {table}.{name}",
    "AT_SetNotNull": "requires {table}.{name} to be NOT NULL",
    "AT_DropNotNull": "allows NULL in {table}.{name}",
    "AT_ColumnDefault": "changes the default of {table}.{name}",
    "AT_AddConstraint": "adds a constraint to {table}",
    "AT_DropConstraint": "drops constraint {name} of {table}",
    "AT_ValidateConstraint": "validates constraint {name} of {table}",
    "AT_AttachPartition": "attaches a partition to {table}",
    "AT_DetachPartition": "detaches a partition from {table}",
    "AT_EnableRowSecurity": "enables row security on {table}",
}
_STATEMENTS = {
    "create_stmt": "creates table {table}",
    "index_stmt": "builds an index on {table}",
    "insert_stmt": "inserts rows into {table}",
    "update_stmt": "updates rows of {table}",
    "delete_stmt": "deletes rows of {table}",
    "view_stmt": "creates view {table}",
    "create_trig_stmt": "creates a trigger on {table}",
    "copy_stmt": "copies rows into {table}",
}
_OTHERS = {
    "create_function_stmt": "creates a function",
    "create_schema_stmt": "creates a schema",
    "create_extension_stmt": "creates an extension",
    "create_enum_stmt": "creates an enum type",
    "alter_enum_stmt": "changes an enum type",
    "create_seq_stmt": "creates a sequence",
    "create_table_as_stmt": "creates a table or a materialized view from a query",
    "refresh_mat_view_stmt": "refreshes a materialized view",
    "truncate_stmt": "empties tables",
    "comment_stmt": "writes comments",
    "grant_stmt": "changes rights",
    "do_stmt": "runs a DO block",
    "call_stmt": "calls a procedure",
    "select_stmt": "runs a query",
}


def summarize(statements: Iterable[str]) -> str:
    """Return what the statements do, in one sentence; repeated work is counted."""
    phrases = Counter(phrase for sql in statements for phrase in _describe(sql))
    if not phrases:
        return "does nothing"
    shown = [
        phrase if count == 1 else f"{phrase} ({count} times)" for phrase, count in [*phrases.items()][:_MOST]
    ]
    more = len(phrases) - len(shown)
    return ", ".join(shown) + (f", and {more} more kinds of work" if more > 0 else "")


def _describe(sql: str) -> list[str]:
    try:
        found = parse(sql)
    except ParseError:
        return ["runs SQL that the parser does not know"]
    return [phrase for parsed in found for phrase in _describe_statement(parsed.kind, parsed.node)]


def _describe_statement(kind: str, node: Any) -> list[str]:
    statement = getattr(node, kind)
    if kind in ("variable_set_stmt", "transaction_stmt"):
        return []
    if kind == "alter_table_stmt":
        table = str(read_name(statement.relation))
        return [
            _COMMANDS.get(command.sort, "alters {table}").format(
                table=table, name=quote_ident(command.tree.name or _read_added(command.tree))
            )
            for command in list_commands(statement)
        ]
    if kind == "rename_stmt":
        return [_describe_rename(statement)]
    if kind == "drop_stmt":
        what = read_enum_name(statement, "remove_type").removeprefix("OBJECT_").replace("_", " ").lower()
        return [f"drops {what} {name}" for name in list_dropped_names(statement)]
    if kind in _STATEMENTS and statement.HasField("relation" if kind != "view_stmt" else "view"):
        relation = statement.view if kind == "view_stmt" else statement.relation
        return [_STATEMENTS[kind].format(table=read_name(relation))]
    return [_OTHERS.get(kind, f"runs {kind.removesuffix('_stmt').replace('_', ' ').upper()}")]


def _describe_rename(statement: Any) -> str:
    what = read_enum_name(statement, "rename_type").removeprefix("OBJECT_").replace("_", " ").lower()
    table = str(read_name(statement.relation)) if statement.HasField("relation") else ""
    old = quote_ident(statement.subname) if statement.subname else ""
    named = " of ".join(filter(None, (old, table)))
    return f"renames {' '.join(filter(None, (what, named)))} to {quote_ident(statement.newname)}"


def list_dropped_names(statement: Any) -> list[str]:
    """Return the names in a DROP, as the statement qualifies them."""
    return [_join_name(item) for item in statement.objects]


def _join_name(item: Any) -> str:
    sort = item.WhichOneof("node")
    if sort == "list":
        return ".".join(quote_ident(part.string.sval) for part in item.list.items)
    if sort == "string":
        return quote_ident(item.string.sval)
    names = item.type_name.names if sort == "type_name" else item.object_with_args.objname
    return ".".join(quote_ident(part.string.sval) for part in names)


def _read_added(command: Any) -> str:
    # The field is called ``def``, which is a Python keyword.
    definition = getattr(command, "def")
    return definition.column_def.colname if definition.HasField("column_def") else ""
