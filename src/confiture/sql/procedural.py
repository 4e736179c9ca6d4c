"""Find the statements in a DO block or a function, and the functions that they call.

Uses PL/pgSQL's own parser, because a search for keywords cannot tell which statements an EXCEPTION clause
may roll back, nor which are strings that are built at run time.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import define, evolve, field, frozen

from confiture.sql.lexer import find_statement_start, strip_trailing_comments
from confiture.sql.parser import (
    ParseError,
    RawStatement,
    deparse,
    find_nodes,
    parse,
    parse_plpgsql,
    read_enum_name,
    rewrite_assignment,
    wrap_statement,
)
from confiture.sql.plpgsql_types import use_plain_types

# libpg_query's parseMode of an expression: 0 a statement, 2 what follows SELECT, above 2 an assignment.
_STATEMENT, _EXPRESSION = 0, 2
_DYNAMIC_QUERY_KEYS = {
    "PLpgSQL_stmt_dynexecute": "query",
    "PLpgSQL_stmt_dynfors": "query",
    "PLpgSQL_stmt_return_query": "dynquery",
    "PLpgSQL_stmt_open": "dynquery",
}
_TRANSACTION_KEYS = {"PLpgSQL_stmt_commit": "COMMIT", "PLpgSQL_stmt_rollback": "ROLLBACK"}
_MAY_END = re.compile("commit|rollback", re.IGNORECASE)
_LONGEST_SHOWN_CHARACTERS = 60
# PL/pgSQL's own COMMIT, ROLLBACK, and CALL or DO, whose code may end the transaction. A function, and any
# code that EXECUTE runs, may not: PostgreSQL answers "invalid transaction termination".
_ENDING_KEYS = frozenset({*_TRANSACTION_KEYS, "PLpgSQL_stmt_call"})


@frozen
class InnerStatement:
    """One statement in a DO block or a function.

    Attributes:
        sql: Its text; ``None`` if unknown: see ``reason``.
        line: 1-based, in the text that was read; ``None`` if unknown.
        in_exception: True if an EXCEPTION clause may roll it back, which also releases its locks.
        dynamic: True if it is a string that EXECUTE runs.
        reason: Why the text is unknown, else ``None``.
        kind: The parser's name of its node; empty if the text is unknown.
        node: That node, so that callers need not parse the text again.
    """

    sql: str | None
    line: int | None
    in_exception: bool = False
    dynamic: bool = False
    reason: str | None = None
    kind: str = field(default="", eq=False)
    node: Any = field(default=None, eq=False, repr=False)


@frozen
class FunctionCall:
    """A call of a function or procedure; ``schema`` and ``name`` as written.

    Attributes:
        first_argument: The first argument if it is the constant true or false, else ``None``.
    """

    schema: str | None
    name: str
    line: int | None
    in_exception: bool = False
    first_argument: bool | None = field(default=None, eq=False)


@frozen
class TransactionEnd:
    """A COMMIT or ROLLBACK of PL/pgSQL; ``line`` is ``None`` if unknown."""

    word: str
    line: int | None


@frozen
class ProceduralBody:
    """The statements and calls found, in the order of the text.

    Attributes:
        statements: Without COMMIT and ROLLBACK, which are PL/pgSQL's own.
        calls: The functions called.
        commits_in_exception: True if COMMIT or ROLLBACK is in a block with EXCEPTION, where it fails.
        transaction_ends: Each COMMIT and ROLLBACK elsewhere.
        expressions: The trees of PL/pgSQL's expressions and of a BEGIN ATOMIC body.
    """

    statements: tuple[InnerStatement, ...] = ()
    calls: tuple[FunctionCall, ...] = ()
    commits_in_exception: bool = False
    transaction_ends: tuple[TransactionEnd, ...] = ()
    expressions: tuple[Any, ...] = field(default=(), eq=False, repr=False)

    @property
    def unknown(self) -> tuple[InnerStatement, ...]:
        """The statements that do not parse, or whose text is built at run time."""
        return tuple(statement for statement in self.statements if statement.sql is None)


def parse_body(sql: str, *, in_exception: bool = False, lines_from_body: bool = False) -> ProceduralBody:
    """Return the statements inside a text, and the functions that it calls.

    Reads the body of a DO block and of a CREATE FUNCTION or PROCEDURE. Creating a function does not run its
    body, so pass the definitions of called functions. For any other statement, finds only its calls.

    ``lines_from_body``: count lines from the first line of a function's body, as PostgreSQL's CONTEXT does.
    """
    reader = _ProceduralReader(lines_from_body)
    reader.read(sql, _TextPosition(1, in_exception), top=True)
    return ProceduralBody(
        tuple(reader.statements),
        tuple(dict.fromkeys(reader.calls)),
        reader.commits_in_exception,
        tuple(reader.transaction_ends),
        tuple(reader.expressions),
    )


def find_transaction_end(kind: str, sql: str) -> TransactionEnd | None:
    """Return the first COMMIT or ROLLBACK of a DO block, which makes it fail in a transaction; else ``None``.

    Leaves out a block with EXCEPTION, whose handler may catch that error.
    """
    if kind != "do_stmt" or not _MAY_END.search(sql):
        return None
    return next(iter(parse_body(sql).transaction_ends), None)


def may_end_transaction(stmt: Any) -> bool | None:
    """Return True if a DO block may commit or roll back; ``None`` if it is not PL/pgSQL that can be read."""
    languages = [arg.def_elem.arg.string.sval for arg in stmt.args if arg.def_elem.defname == "language"]
    if any(language.lower() != "plpgsql" for language in languages):
        return None
    node = wrap_statement("do_stmt", stmt)
    try:
        return _has_key(_parse_functions(deparse(node), node), _ENDING_KEYS)
    except ParseError:
        return None


def _has_key(tree: Any, keys: frozenset[str]) -> bool:
    if isinstance(tree, list):
        return any(_has_key(item, keys) for item in tree)
    return isinstance(tree, dict) and any(key in keys or _has_key(value, keys) for key, value in tree.items())


@frozen
class _TextPosition:
    """The place of a text inside the text around it.

    Attributes:
        line: The line of its first line in the outermost text; ``None`` if unknown.
        in_exception: True if a block with an EXCEPTION clause contains it.
        dynamic: True if EXECUTE runs it; all its lines then count as the line of that EXECUTE.
    """

    line: int | None
    in_exception: bool
    dynamic: bool = False

    def shift_line(self, lines: int) -> int | None:
        """Return the line ``lines`` further down."""
        return self.line if self.line is None or self.dynamic else self.line + lines


@define
class _ProceduralReader:
    """Collects statements and calls from a text, and from the texts nested in it."""

    lines_from_body: bool
    statements: list[InnerStatement] = field(factory=list)
    calls: list[FunctionCall] = field(factory=list)
    commits_in_exception: bool = False
    transaction_ends: list[TransactionEnd] = field(factory=list)
    expressions: list[Any] = field(factory=list)

    def read(self, text: str, place: _TextPosition, *, top: bool = False) -> None:
        """Read statements; those at the ``top`` are not collected, only what is inside them."""
        try:
            found = parse(text)
        except ParseError as error:
            self._note_unknown(place, place.line, f"it does not parse: {error.message}")
            return
        for parsed in found:
            self._read_statement(text, parsed, place, top=top)

    def _read_statement(self, text: str, parsed: RawStatement, place: _TextPosition, *, top: bool) -> None:
        line = place.shift_line(text.count("\n", 0, parsed.start))
        sql = strip_trailing_comments(text[parsed.start : parsed.end])
        if parsed.kind == "do_stmt" or (top and parsed.kind == "create_function_stmt"):
            self._read_body(sql, evolve(place, line=line))
            return
        if not top:
            self.statements.append(
                InnerStatement(
                    sql, line, place.in_exception, place.dynamic, kind=parsed.kind, node=parsed.node
                )
            )
        self._collect_calls(parsed.node, line, place)

    def _collect_calls(self, node: Any, line: int | None, place: _TextPosition) -> None:
        for call in find_nodes(node, "FuncCall"):
            names = [part.string.sval for part in call.funcname]
            # The parser itself writes pg_catalog, for special syntax as EXTRACT and AT TIME ZONE have it.
            if names[0] != "pg_catalog" or read_enum_name(call, "funcformat") != "COERCE_SQL_SYNTAX":
                schema = names[-2] if len(names) > 1 else None
                first = _read_constant_bool(call.args[0]) if call.args else None
                self.calls.append(FunctionCall(schema, names[-1], line, place.in_exception, first))

    def _read_body(self, sql: str, place: _TextPosition) -> None:
        """Read the body of a DO block or a function; ``sql`` is that one statement."""
        (alone,) = parse(sql)
        stmt = getattr(alone.node, alone.kind)
        options = {option.def_elem.defname: option.def_elem for option in _get_options(stmt)}
        language = options["language"].arg.string.sval if "language" in options else "plpgsql"
        if "as" not in options:
            # A BEGIN ATOMIC body is part of the tree, and contains only queries.
            self._collect_calls(stmt, place.line, place)
            self.expressions.append(stmt)
            return
        from_body = self.lines_from_body and alone.kind == "create_function_stmt"
        first = 0 if from_body else _count_lines_above(sql, options["as"].location)
        below = evolve(place, line=None if first is None else place.shift_line(first))
        if language.lower() == "plpgsql":
            self._read_plpgsql(sql, alone.node, below)
        elif language.lower() == "sql":
            self.read(_get_body_text(options["as"].arg), below)
        else:
            self._note_opaque_body(place, f"it is written in {language}")

    def _read_plpgsql(self, sql: str, node: Any, place: _TextPosition) -> None:
        try:
            functions = _parse_functions(sql, node)
        except ParseError as error:
            self._note_opaque_body(place, f"it does not parse: {error.message}")
            return
        for function in functions:
            self._walk(function, 1, place)

    def _walk(self, node: Any, line: int, place: _TextPosition) -> None:
        for item in node if isinstance(node, list) else ():
            self._walk(item, line, place)
        for key, value in node.items() if isinstance(node, dict) else ():
            if key == "PLpgSQL_expr":
                self._read_expression(value, line, place)
            elif key == "PLpgSQL_stmt_block":
                self._walk_block(value, place)
            elif isinstance(value, dict):
                self._walk_statement(key, value, line, place)
            else:
                self._walk(value, line, place)

    def _walk_statement(self, key: str, value: dict[str, Any], line: int, place: _TextPosition) -> None:
        line = max(value.get("lineno", line), 1)
        if key in _TRANSACTION_KEYS:
            self._note_transaction_end(_TRANSACTION_KEYS[key], place, line)
        dynamic = _DYNAMIC_QUERY_KEYS.get(key)
        if dynamic in value:
            self._read_execute(value[dynamic]["PLpgSQL_expr"]["query"], line, place)
        self._walk({name: part for name, part in value.items() if name != dynamic}, line, place)

    def _note_transaction_end(self, word: str, place: _TextPosition, line: int) -> None:
        if place.in_exception:
            self.commits_in_exception = True
        else:
            self.transaction_ends.append(TransactionEnd(word, place.shift_line(line - 1)))

    def _walk_block(self, block: dict[str, Any], place: _TextPosition) -> None:
        """Read BEGIN … END. An EXCEPTION clause rolls back the block's body, but not its handlers."""
        line = block.get("lineno", 1)
        guarded = evolve(place, in_exception=place.in_exception or "exceptions" in block)
        self._walk(block.get("body", []), line, guarded)
        self._walk(block.get("exceptions", {}), line, place)

    def _read_expression(self, expression: dict[str, Any], line: int, place: _TextPosition) -> None:
        query, mode = expression["query"], expression.get("parseMode", _STATEMENT)
        here = evolve(place, line=place.shift_line(line - 1))
        if mode == _STATEMENT:
            self.read(query, here)
            return
        try:
            found = parse("SELECT " + (query if mode == _EXPRESSION else rewrite_assignment(query)))
        except ParseError as error:
            self._note_unknown(here, here.line, f"it does not parse: {error.message}")
            return
        for parsed in found:
            self._collect_calls(parsed.node, here.line, here)
            self.expressions.append(parsed.node)

    def _read_execute(self, query: str, line: int, place: _TextPosition) -> None:
        """Read the statements that EXECUTE runs, if its string is a constant."""
        here = evolve(place, line=place.shift_line(line - 1), dynamic=True)
        try:
            found = parse("SELECT " + query)
        except ParseError as error:
            self._note_unknown(here, here.line, f"it does not parse: {error.message}")
            return
        self._collect_calls(found[0].node, here.line, here)
        text = _evaluate_constant(found[0].node.select_stmt.target_list[0].res_target.val)
        if text is None:
            self._note_unknown(here, here.line, f"its text is built at run time: EXECUTE {_shorten(query)}")
        else:
            self.read(text, here)

    def _note_opaque_body(self, place: _TextPosition, reason: str) -> None:
        """Note a body that cannot be read, and assume that it has an EXCEPTION clause."""
        self._note_unknown(evolve(place, in_exception=True), place.line, reason)

    def _note_unknown(self, place: _TextPosition, line: int | None, reason: str) -> None:
        self.statements.append(InnerStatement(None, line, place.in_exception, place.dynamic, reason))


def _parse_functions(sql: str, node: Any) -> list[dict[str, Any]]:
    """Parse PL/pgSQL; if the parser stops at an unknown type, parse it again with plain types."""
    try:
        return parse_plpgsql(sql)
    except ParseError as error:
        try:
            return parse_plpgsql(use_plain_types(node))
        except ParseError:
            # The first error is about what the user wrote.
            raise error from None


def _get_options(stmt: Any) -> Any:
    return stmt.args if stmt.DESCRIPTOR.name == "DoStmt" else stmt.options


def _get_body_text(argument: Any) -> str:
    if argument.WhichOneof("node") == "list":
        return str(argument.list.items[0].string.sval)
    return str(argument.string.sval)


def _count_lines_above(sql: str, location_bytes: int) -> int | None:
    """Return the number of lines above a body; ``None`` if the body's lines are not lines of the text."""
    start = len(sql.encode()[:location_bytes].decode())
    if sql[start : start + 2].lower() == "as":
        start = find_statement_start(sql, start + 2) or start
    # An E'' string may spell its line ends \n, so its lines are not those of the file.
    return sql.count("\n", 0, start) if sql[start] in "$'" else None


def _evaluate_constant(value: Any) -> str | None:
    """Return the value of a constant string expression; ``None`` if it is not constant."""
    kind = value.WhichOneof("node")
    if kind == "a_const" and value.a_const.WhichOneof("val") == "sval":
        return str(value.a_const.sval.sval)
    if kind == "type_cast":
        return _evaluate_constant(value.type_cast.arg)
    if kind == "a_expr" and read_enum_name(value.a_expr, "kind") == "AEXPR_OP":
        if [part.string.sval for part in value.a_expr.name] != ["||"]:
            return None
        left, right = _evaluate_constant(value.a_expr.lexpr), _evaluate_constant(value.a_expr.rexpr)
        return None if left is None or right is None else left + right
    return None


def _read_constant_bool(value: Any) -> bool | None:
    constant = value.a_const if value.WhichOneof("node") == "a_const" else None
    return bool(constant.boolval.boolval) if constant and constant.WhichOneof("val") == "boolval" else None


def _shorten(text: str) -> str:
    one_line = " ".join(text.split())
    return (
        one_line if len(one_line) <= _LONGEST_SHOWN_CHARACTERS else one_line[:_LONGEST_SHOWN_CHARACTERS] + "…"
    )
