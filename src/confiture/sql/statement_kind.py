"""Classify a statement by its parse tree, once per text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from attrs import frozen

from confiture.sql.parser import ParseError, RawStatement, find_nodes, parse, parse_once, read_enum_name
from confiture.sql.reach import Reach, find_reach
from confiture.sql.validated_keys import ValidatedKey, list_validated_keys

# Prefixes of utility statements that run no user-defined function; any other statement may run one.
_RUN_NO_FUNCTIONS = (
    "alter_",
    "create_",
    "drop_",
    "grant_",
    "comment_",
    "variable_",
    "reassign_",
    "sec_label_",
)
_RUN_NO_FUNCTIONS_EITHER = frozenset(
    {
        "cluster_stmt",
        "composite_type_stmt",
        "createdb_stmt",
        "define_stmt",
        "dropdb_stmt",
        "import_foreign_schema_stmt",
        "index_stmt",
        "lock_stmt",
        "reindex_stmt",
        "rename_stmt",
        "rule_stmt",
        "truncate_stmt",
        "vacuum_stmt",
        "view_stmt",
    }
)
_CHANGE_ROWS = {
    "insert_stmt": "INSERT",
    "update_stmt": "UPDATE",
    "delete_stmt": "DELETE",
    "merge_stmt": "MERGE",
}
_VERBS = _CHANGE_ROWS | {
    "call_stmt": "CALL",
    "cluster_stmt": "CLUSTER",
    "copy_stmt": "COPY",
    "do_stmt": "DO",
    "execute_stmt": "EXECUTE",
    "lock_stmt": "LOCK",
    "reindex_stmt": "REINDEX",
    "select_stmt": "SELECT",
    "truncate_stmt": "TRUNCATE",
}
_TRANSACTION_TIMES = ("now", "transaction_timestamp")
_TIME_KEYWORDS = ("SVFOP_CURRENT_TIME", "SVFOP_CURRENT_DATE", "SVFOP_LOCALTIME")
# psycopg's placeholders: it replaces them with $1 before sending, and the parser knows only $1.
_PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sbt]|%%")


@frozen
class StatementKind:
    """The facts that the rules need from a parse tree, without the tree.

    Attributes:
        node: The parser's name, ``"index_stmt"``; empty if it cannot be parsed.
        verb: Its keyword, ``"TRUNCATE"``, if a rule depends on it; else empty.
        changes_rows: True for INSERT, UPDATE, DELETE and MERGE, also in a WITH clause.
        is_query: True for a query or a statement that only changes rows.
        may_run_functions: True if it may run a function or procedure, which may take and release locks.
        fills_relation: True for CREATE TABLE AS, SELECT INTO, and CREATE or REFRESH MATERIALIZED VIEW.
        concurrent: True if it says CONCURRENTLY.
        reads_rows: For INSERT and COPY: False if it writes only the values given in its text or data.
        checks_foreign_key: True if it adds a foreign key that is not NOT VALID.
        validates: True for VALIDATE CONSTRAINT, whatever the constraint is.
        validated_keys: The foreign keys that it checks the rows for; of VALIDATE CONSTRAINT, any constraint.
        index_keys: The columns of the B-tree index that it builds, an empty string for an expression; of
            several indexes, the columns of all.
        index_method: The access method of the index that it builds; ``"btree"`` if it does not say.
        reach: The relations that it can reach; ``None`` if its text does not prove that there are no others.
    """

    node: str = ""
    verb: str = ""
    changes_rows: bool = False
    is_query: bool = False
    may_run_functions: bool = True
    fills_relation: bool = False
    concurrent: bool = False
    reads_rows: bool = True
    checks_foreign_key: bool = False
    validates: bool = False
    validated_keys: tuple[ValidatedKey, ...] = ()
    index_keys: tuple[str, ...] = ()
    index_method: str = "btree"
    reach: Reach | None = None


# Each statement is classified before it runs, after it, and again for its report: the cache parses it once.
# It keeps these small values and drops the trees, which are large.
@lru_cache(maxsize=4096)
def classify_statement(sql: str) -> StatementKind:
    """Return the kind of the first statement of a text; ``is_query`` is False if the text has several."""
    found = parse_leniently(sql)
    if not found:
        return StatementKind()
    kind = _classify(found[0])
    if len(found) == 1:
        return kind
    return StatementKind(kind.node, kind.verb, changes_rows=kind.changes_rows, concurrent=kind.concurrent)


def parse_leniently(sql: str) -> list[RawStatement]:
    """Return the statements of a text that may contain psycopg's placeholders; none if it does not parse."""
    try:
        return list(parse_once(sql))
    except ParseError:
        pass
    try:
        return parse(_PLACEHOLDER.sub(lambda found: "%" if found[0] == "%%" else "$1", sql))
    except ParseError:
        return []


def adds_enum_value(sql: str, value: str) -> bool:
    """Return True if the text contains ALTER TYPE … ADD VALUE with this value, also in a DO block."""
    from confiture.sql.procedural import parse_body

    nodes = [(parsed.kind, parsed.node) for parsed in parse_leniently(sql)]
    nodes += [(inner.kind, inner.node) for inner in parse_body(sql).statements if inner.node is not None]
    # RENAME VALUE parses to the same node; only RENAME VALUE has an old value.
    return any(
        kind == "alter_enum_stmt"
        and node.alter_enum_stmt.new_val == value
        and not node.alter_enum_stmt.old_val
        for kind, node in nodes
    )


def reads_transaction_time(sql: str) -> bool:
    """Return True if a text reads the start time of its transaction, as ``now()`` does."""
    from confiture.sql.procedural import parse_body

    body = parse_body(sql)
    if any(call.name in _TRANSACTION_TIMES for call in body.calls):
        return True
    trees = [parsed.node for parsed in parse_leniently(sql)]
    trees += [statement.node for statement in body.statements if statement.node is not None]
    return any(map(_is_transaction_time, trees))


def _is_transaction_time(node: Any) -> bool:
    calls = (call.funcname[-1].string.sval for call in find_nodes(node, "FuncCall"))
    keywords = (read_enum_name(value, "op") for value in find_nodes(node, "SQLValueFunction"))
    return any(name in _TRANSACTION_TIMES for name in calls) or any(
        keyword.startswith(_TIME_KEYWORDS) for keyword in keywords
    )


def _classify(parsed: RawStatement) -> StatementKind:
    node, statement = parsed.kind, getattr(parsed.node, parsed.kind)
    changes_rows = node in _CHANGE_ROWS or (node == "select_stmt" and _has_writing_clause(statement))
    return StatementKind(
        node=node,
        verb=_find_verb(node, statement),
        changes_rows=changes_rows,
        is_query=node in ("select_stmt", "copy_stmt") or changes_rows,
        may_run_functions=node == "create_table_as_stmt"
        or not (node.startswith(_RUN_NO_FUNCTIONS) or node in _RUN_NO_FUNCTIONS_EITHER),
        fills_relation=node in ("create_table_as_stmt", "refresh_mat_view_stmt")
        or (node == "select_stmt" and any(find_nodes(statement, "IntoClause"))),
        concurrent=_is_concurrent(statement),
        reads_rows=_reads_rows(node, statement),
        checks_foreign_key=node == "alter_table_stmt" and _checks_foreign_key(statement),
        validates=node == "alter_table_stmt" and _validates(statement),
        validated_keys=tuple(list_validated_keys(statement)) if node == "alter_table_stmt" else (),
        index_keys=tuple(_list_index_keys(node, statement)),
        index_method=(node == "index_stmt" and statement.access_method) or "btree",
        reach=find_reach(node, statement),
    )


def _validates(statement: Any) -> bool:
    return any(
        read_enum_name(command.alter_table_cmd, "subtype") == "AT_ValidateConstraint"
        for command in statement.cmds
    )


def _checks_foreign_key(statement: Any) -> bool:
    return any(
        read_enum_name(constraint, "contype") == "CONSTR_FOREIGN" and not constraint.skip_validation
        for constraint in find_nodes(statement, "Constraint")
    )


def _list_index_keys(node: str, statement: Any) -> Iterator[str]:
    if node == "index_stmt" and statement.access_method in ("", "btree"):
        yield from (key.index_elem.name for key in statement.index_params)
    if node == "alter_table_stmt":
        for constraint in find_nodes(statement, "Constraint"):
            if read_enum_name(constraint, "contype") in ("CONSTR_PRIMARY", "CONSTR_UNIQUE"):
                yield from (key.string.sval for key in constraint.keys)


def _find_verb(node: str, statement: Any) -> str:
    if node == "vacuum_stmt":
        return "VACUUM" if statement.is_vacuumcmd else "ANALYZE"
    if node == "select_stmt" and statement.values_lists:
        return "VALUES"
    return _VERBS.get(node, "")


def _has_writing_clause(select: Any) -> bool:
    return any(
        cte.ctequery.WhichOneof("node") in _CHANGE_ROWS for cte in find_nodes(select, "CommonTableExpr")
    )


def _is_concurrent(statement: Any) -> bool:
    if getattr(statement, "concurrent", False):
        return True
    name = statement.DESCRIPTOR.name
    if name == "AlterTableStmt":
        return any(command.concurrent for command in find_nodes(statement, "PartitionCmd"))
    # REINDEX has no field for it: CONCURRENTLY is one of its options.
    return name == "ReindexStmt" and any(
        option.def_elem.defname == "concurrently" for option in statement.params
    )


def _reads_rows(node: str, statement: Any) -> bool:
    if node == "insert_stmt":
        queries = (select for select in find_nodes(statement, "SelectStmt") if not select.values_lists)
        return statement.HasField("on_conflict_clause") or any(True for _ in queries)
    return node != "copy_stmt" or not statement.is_from
