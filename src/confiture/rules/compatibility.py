"""Rules about what the running application still uses, and about statements that must fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confiture.rules.column_rename import explain_lack, write_rename
from confiture.rules.parse_tree import list_commands, read_name, read_name_list
from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement
from confiture.rules.rule import Example, Hit, Rule, Severity
from confiture.sql.parser import read_enum_name
from confiture.sql.quote import quote_ident
from confiture.sql.transaction_block import find_transaction_words

_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text NOT NULL, qty int);"
_WAY = "deploy a version of the application that does not use it, then drop it in a later migration"
_RENAME = "add the new name next to the old one, let the application use it, then drop the old one"


def _check_drop_column(statement: ParsedStatement) -> Iterator[Hit]:
    table = read_name(statement.stmt.relation)
    if read_enum_name(statement.stmt, "objtype") == "OBJECT_TABLE" and not statement.is_new(table):
        for command in list_commands(statement.stmt):
            if command.sort == "AT_DropColumn":
                yield Hit(f"drops {table}.{quote_ident(command.tree.name)} with its data", str(table))


def _check_drop_not_null(statement: ParsedStatement) -> Iterator[Hit]:
    table = read_name(statement.stmt.relation)
    for command in list_commands(statement.stmt):
        if command.sort == "AT_DropNotNull" and not statement.is_new(table):
            yield Hit(
                f"allows NULL in {table}.{quote_ident(command.tree.name)}: can the application read it?",
                str(table),
            )


def _check_drop_table(statement: ParsedStatement) -> Iterator[Hit]:
    if read_enum_name(statement.stmt, "remove_type") == "OBJECT_TABLE":
        for table in (read_name_list(item.list.items) for item in statement.stmt.objects):
            if not statement.is_new(table):
                yield Hit(f"drops {table} with its data", str(table))


def _check_drop_schema(statement: ParsedStatement) -> Iterator[Hit]:
    if read_enum_name(statement.stmt, "remove_type") == "OBJECT_SCHEMA":
        for item in statement.stmt.objects:
            yield Hit(f"drops the schema {quote_ident(item.string.sval)} with its objects")


def _check_drop_database(statement: ParsedStatement) -> Iterator[Hit]:
    yield Hit(f"drops the database {quote_ident(statement.stmt.dbname)}")


def _make_rename_check(sort: str, words: str) -> Any:
    def check(statement: ParsedStatement) -> Iterator[Hit]:
        stmt = statement.stmt
        if read_enum_name(stmt, "rename_type") != sort:
            return
        if stmt.HasField("relation"):
            table = read_name(stmt.relation)
            if not statement.is_new(table):
                yield Hit(f"renames the {words} {table} to {quote_ident(stmt.newname)}", str(table))
        else:
            yield Hit(f"renames the {words} {quote_ident(stmt.subname)} to {quote_ident(stmt.newname)}")

    return check


def _check_rename_column(statement: ParsedStatement) -> Iterator[Hit]:
    stmt = statement.stmt
    table = read_name(stmt.relation)
    if read_enum_name(stmt, "rename_type") == "OBJECT_COLUMN" and not statement.is_new(table):
        old = f"{table}.{quote_ident(stmt.subname)}"
        yield Hit(
            f"renames the column {old} to {quote_ident(stmt.newname)}{explain_lack(statement)}",
            str(table),
            write_rename(statement),
        )


def _check_move(statement: ParsedStatement) -> Iterator[Hit]:
    stmt = statement.stmt
    if stmt.HasField("relation") and not statement.is_new(read_name(stmt.relation)):
        table = read_name(stmt.relation)
        yield Hit(f"moves {table} to the schema {quote_ident(stmt.newschema)}", str(table))


def _check_rename_table(statement: ParsedStatement) -> Iterator[Hit]:
    if statement.kind == "alter_object_schema_stmt":
        yield from _check_move(statement)
    else:
        yield from _make_rename_check("OBJECT_TABLE", "table")(statement)


def _check_rename_enum(statement: ParsedStatement) -> Iterator[Hit]:
    if statement.stmt.old_val:
        name = read_name_list(statement.stmt.type_name)
        yield Hit(f"renames the value {statement.stmt.old_val!r} of {name} to {statement.stmt.new_val!r}")


def _check_rls(migration: ParsedMigration) -> Iterator[Hit]:
    policies = {
        read_name(inner.stmt.table) for inner in migration.statements if inner.kind == "create_policy_stmt"
    }
    for statement in migration.statements:
        if statement.kind == "alter_table_stmt" and read_name(statement.stmt.relation) not in policies:
            for command in list_commands(statement.stmt):
                table = read_name(statement.stmt.relation)
                # A new table that only its owner reads is meant so: nobody has seen its rows before.
                if command.sort == "AT_EnableRowSecurity" and not statement.is_new(table):
                    yield Hit(
                        f"enables row security on {table}, but creates no policy that shows a row to anyone",
                        str(table),
                        line=statement.line,
                    )


def _check_control(statement: ParsedStatement) -> Iterator[Hit]:
    words = find_transaction_words(statement.kind, statement.node, statement.sql)
    if words:
        yield Hit(f"{words} in a migration: confiture itself begins and ends the transaction")


def _check_uncommitted(migration: ParsedMigration) -> Iterator[Hit]:
    begin_line: int | None = None
    for statement in migration.statements:
        if statement.kind == "transaction_stmt":
            words = find_transaction_words(statement.kind, statement.node, statement.sql) or ""
            if words in ("BEGIN", "START"):
                begin_line = statement.line
            elif words in ("COMMIT", "END", "ROLLBACK", "ABORT"):
                begin_line = None
    if begin_line is not None:
        yield Hit("begins a transaction and does not commit it", line=begin_line)


def _check_duplicates(statement: ParsedStatement) -> Iterator[Hit]:
    stmt = statement.stmt
    targets = stmt.target_list if statement.kind == "update_stmt" else stmt.cols
    # Indirection is `col[1]` or `col.field`: several parts of one column may be assigned.
    names = [target.res_target.name for target in targets if not target.res_target.indirection]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield Hit(
            f"assigns {quote_ident(name)} twice and fails with error 42601 or 42701",
            str(read_name(stmt.relation)),
        )


def _make_rule(
    id: str,
    severity: Severity,
    summary: str,
    risk: str,
    remedy: str,
    dangerous: str,
    schema: str = _ORDERS,
    effect: str = "makes the change visible to everybody as soon as the migration commits",
    **more: Any,
) -> Rule:
    return Rule(
        id=id,
        severity=severity,
        basis="static",
        summary=summary,
        effect=effect,
        risk=risk,
        remedy=remedy,
        example=Example(schema, dangerous),
        **more,
    )


_OLD = "the version of the application that is still running uses it, and fails"

RULES = (
    _make_rule(
        "drop-column",
        "warning",
        "DROP COLUMN",
        _OLD,
        _WAY,
        "ALTER TABLE orders DROP COLUMN note;",
        check=_check_drop_column,
        kinds=("alter_table_stmt",),
        subcommands=("AT_DropColumn",),
    ),
    _make_rule(
        "drop-table",
        "warning",
        "DROP TABLE",
        _OLD,
        _WAY,
        "DROP TABLE orders;",
        check=_check_drop_table,
        kinds=("drop_stmt",),
    ),
    _make_rule(
        "drop-schema",
        "warning",
        "DROP SCHEMA",
        _OLD,
        _WAY,
        "DROP SCHEMA app CASCADE;",
        "CREATE SCHEMA app;",
        check=_check_drop_schema,
        kinds=("drop_stmt",),
    ),
    _make_rule(
        "drop-database",
        "warning",
        "DROP DATABASE",
        "everything in it is lost",
        "drop it by hand",
        "DROP DATABASE jam;",
        "CREATE DATABASE jam;",
        effect="refuses it inside a transaction; outside one it deletes the database immediately",
        check=_check_drop_database,
        kinds=("dropdb_stmt",),
    ),
    _make_rule(
        "drop-not-null",
        "warning",
        "DROP NOT NULL",
        "code that reads the column may not expect a NULL",
        "first deploy a version of the application that accepts a NULL",
        "ALTER TABLE orders ALTER COLUMN note DROP NOT NULL;",
        check=_check_drop_not_null,
        kinds=("alter_table_stmt",),
        subcommands=("AT_DropNotNull",),
    ),
    _make_rule(
        "rename-column",
        "warning",
        "RENAME COLUMN",
        _OLD,
        f"{_RENAME}; a rehearsal writes these migrations, with a trigger that keeps both in step",
        "ALTER TABLE orders RENAME COLUMN note TO remark;",
        check=_check_rename_column,
        kinds=("rename_stmt",),
    ),
    _make_rule(
        "rename-table",
        "warning",
        "RENAME of a table, or SET SCHEMA",
        _OLD,
        _RENAME,
        "ALTER TABLE orders RENAME TO purchases;",
        check=_check_rename_table,
        kinds=("rename_stmt", "alter_object_schema_stmt"),
    ),
    _make_rule(
        "rename-schema",
        "warning",
        "RENAME of a schema",
        _OLD,
        _RENAME,
        "ALTER SCHEMA app RENAME TO shop;",
        "CREATE SCHEMA app;",
        check=_make_rename_check("OBJECT_SCHEMA", "schema"),
        kinds=("rename_stmt",),
    ),
    _make_rule(
        "rename-enum-value",
        "warning",
        "RENAME VALUE of an enum",
        _OLD,
        _RENAME,
        "ALTER TYPE mood RENAME VALUE 'lo' TO 'low';",
        "CREATE TYPE mood AS ENUM ('lo', 'hi');",
        check=_check_rename_enum,
        kinds=("alter_enum_stmt",),
    ),
    _make_rule(
        "enable-rls-without-policy",
        "warning",
        "ENABLE ROW LEVEL SECURITY without a policy",
        "everybody but the owner sees an empty table",
        "create the policies in the same migration",
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY;",
        effect="shows rows only to the owner, and to superusers and roles with BYPASSRLS",
        check_migration=_check_rls,
    ),
    _make_rule(
        "transaction-control-in-migration",
        "error",
        "BEGIN, COMMIT, ROLLBACK, SAVEPOINT",
        "the migration would be committed in pieces, not as a whole or not at all; confiture refuses it",
        "remove it; put what must be committed separately into another migration",
        "ALTER TABLE orders ADD COLUMN code text;\nCOMMIT;",
        effect="ends the transaction that confiture began",
        check=_check_control,
        kinds=("transaction_stmt", "variable_set_stmt"),
    ),
    _make_rule(
        "uncommitted-transaction",
        "error",
        "BEGIN without COMMIT",
        "the changes of the migration would be lost",
        "remove BEGIN: confiture itself begins and ends the transaction",
        "BEGIN;\nALTER TABLE orders ADD COLUMN code text;",
        effect="rolls back a transaction that is not committed",
        check_migration=_check_uncommitted,
    ),
    _make_rule(
        "duplicate-column-assignments",
        "error",
        "one column assigned twice",
        "the migration fails",
        "assign the column once",
        "UPDATE orders SET qty = 1, qty = 2 WHERE id = 1;",
        effect="refuses it with error 42601, or 42701 for INSERT",
        check=_check_duplicates,
        kinds=("update_stmt", "insert_stmt"),
    ),
)
