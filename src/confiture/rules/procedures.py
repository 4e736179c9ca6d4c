"""Find out whether a CALL ends the transaction, if the migrations have the procedure's text."""

from __future__ import annotations

from collections.abc import Iterator

from confiture.rules.parse_tree import read_name_list
from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement
from confiture.sql.parser import deparse_type
from confiture.sql.procedural import parse_body


def find_end_in_procedure(statement: ParsedStatement) -> str | None:
    """Return the COMMIT or ROLLBACK of the procedure that a CALL runs; ``None`` if it is not certain.

    Only text before the CALL counts. If several procedures have the name, all must end the transaction,
    because the types of the arguments decide which one runs.
    """
    if statement.kind != "call_stmt" or statement.inside:
        return None
    called = read_name_list(statement.stmt.funccall.funcname)
    words: dict[tuple[str, ...], str | None] = {}
    for migration in _list_until(statement.migration):
        last = statement.index if migration is statement.migration else len(migration.statements)
        for earlier in migration.statements[:last]:
            if earlier.kind == "create_function_stmt" and earlier.stmt.is_procedure:
                name = read_name_list(earlier.stmt.funcname)
                if name == called:
                    words[_read_signature(earlier)] = _find_end(earlier.sql)
    found = list(words.values())
    return found[0] if found and all(found) else None


def _list_until(migration: ParsedMigration) -> Iterator[ParsedMigration]:
    for other in migration.plan.migrations if migration.plan else ():
        if other is migration:
            break
        yield other
    yield migration


def _read_signature(statement: ParsedStatement) -> tuple[str, ...]:
    parameters = (node.function_parameter for node in statement.stmt.parameters)
    return tuple(deparse_type(parameter.arg_type) for parameter in parameters)


def _find_end(sql: str) -> str | None:
    return next((end.word for end in parse_body(sql).transaction_ends), None)
