"""Read SQL files into statements that parse and may run in a migration.

Reports every mistake in a file with its line and column, before anything is applied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from confiture.models.migration import Direction, MigrationFile, SqlScript, SqlSection, Statement
from confiture.sql.directives import DirectionSection, Directives, read_directives, read_section
from confiture.sql.dividers import refuse_dividers
from confiture.sql.lexer import blank_out, find_statement_start, strip_trailing_comments
from confiture.sql.parser import ParseError, RawStatement, parse
from confiture.sql.placeholders import replace_placeholders
from confiture.sql.position import SourceFile, extract_line, locate_offset, locate_server_position
from confiture.sql.procedural import TransactionEnd, find_transaction_end
from confiture.sql.psql import PlainSql, build_command_fault, find_variable_fault, strip_psql
from confiture.sql.transaction_block import find_transaction_refusal, find_transaction_words, is_plain_pair

if TYPE_CHECKING:
    from confiture.exceptions import MigrationFault

__all__ = [
    "extract_line",
    "find_transaction_control",
    "locate_offset",
    "locate_server_position",
    "read_sql",
    "read_sql_text",
    "split_statements",
]

_MAY_CONTROL = (
    r"\b(?:begin|start|commit|end|rollback|abort|savepoint|release|prepare|transaction|characteristics)\b"
)

# The dividers of goose, dbmate and node-pg-migrate, without options: new files need them too.
_UP = re.compile(r"^--[ \t]*(?:\+goose[ \t]+Up|migrate:up|Up Migration)\b", re.MULTILINE | re.IGNORECASE)
_DOWN = re.compile(
    r"^--[ \t]*(?:\+goose[ \t]+Down|migrate:down|Down Migration)\b", re.MULTILINE | re.IGNORECASE
)


def read_sql(script: MigrationFile, direction: Direction, *, keep_refused: bool = False) -> SqlScript | None:
    """Return one direction of an SQL migration; ``None`` if it has no backward direction.

    With ``keep_refused``, statements that cannot run as a migration are kept, so that rules can report them.

    Raises:
        MigrationFault: The file does not parse, a placeholder has no value, or a statement cannot run as a
            migration.
    """
    if script.divide is not None:
        section = _divide(script.divide, direction)
        if section is None:
            return None
        section = evolve(section, text=_fill_in(script, section.path, section.text))
        parsed = read_section_sql(section, direction, keep_refused=keep_refused)
        return evolve(parsed, divider=_find_divider(script.text) if direction == "forward" else None)
    if direction == "backward" and script.down_path is not None:
        text = _fill_in(script, script.down_path, script.down_text or "")
        return read_sql_text(text, script.down_path, direction, keep_refused=keep_refused)
    # Only a single file may contain both directions.
    paired = script.down_path is not None or script.path.name.endswith((".up.sql", ".down.sql"))
    if direction == "backward" and paired:
        return None
    text = _fill_in(script, script.path, script.text)
    return read_sql_text(text, script.path, direction, divided=not paired, keep_refused=keep_refused)


def _find_divider(text: str) -> tuple[str, str] | None:
    begins = _UP.search(text)
    if begins is None:
        return None
    ends = _DOWN.search(text, begins.end())
    return begins.group(), ends.group() if ends else ""


def _divide(divide: Callable[[Direction], SqlSection | None], direction: Direction) -> SqlSection | None:
    section = divide(direction)
    if section is None and direction == "backward":
        up = divide("forward")
        # A migration that does nothing has nothing to undo.
        if up is not None and find_statement_start(up.text) is None:
            return evolve(up, text=blank_out(up.text))
    return section


def _fill_in(script: MigrationFile, file: Path, text: str) -> str:
    """Return a text of the migration with the values of its placeholders."""
    if script.variables is None:
        return text
    return replace_placeholders(SourceFile(file, text), script.variables).text


def read_section_sql(section: SqlSection, direction: Direction, *, keep_refused: bool = False) -> SqlScript:
    """Return the statements of a section, which may be none.

    Raises:
        MigrationFault: The section does not parse, or a statement cannot run as a migration.
    """
    source = SourceFile(section.path, section.text)
    plain = strip_psql(source)
    refuse_dividers(source, plain.text, "up" if direction == "forward" else "down")
    found = _parse_file(source, plain.text)
    outside = (
        not section.transactional
        or (section.lone_outside and _is_lone_outside(found))
        or (section.outside_if_needed and any(map(_is_always_outside, found)))
    )
    # A file that BEGIN and COMMIT wrap as a whole runs in a transaction.
    outside = outside and _drop_plain_pair(found) is found
    return _build_without_pair(source, plain, found, None, keep_refused, theirs=True, outside=outside)


def _is_lone_outside(found: list[RawStatement]) -> bool:
    return len(found) == 1 and find_transaction_refusal(found[0].kind, found[0].node) is not None


def _is_always_outside(parsed: RawStatement) -> bool:
    refusal = find_transaction_refusal(parsed.kind, parsed.node)
    return refusal is not None and refusal.always


def read_check_sql(section: SqlSection) -> SqlScript:
    """Return the statements of SQL that is rolled back, without a transaction around them.

    Raises:
        MigrationFault: It does not parse, or a statement cannot be rolled back.
    """
    source = SourceFile(section.path, section.text)
    plain = strip_psql(source)
    found = _parse_file(source, plain.text)
    if len(found) > 1 and found[0].kind == found[-1].kind == "transaction_stmt":
        found = found[1:-1]
    return _build_script(source, plain, found, Directives(), keep_refused=False)


def read_sql_text(
    text: str,
    file: Path,
    direction: Direction = "forward",
    *,
    divided: bool = False,
    keep_refused: bool = False,
) -> SqlScript | None:
    """Return the statements of a text, which may be none; ``None`` if a divided text has no way back.

    With ``divided``, ``-- migrate:up`` and ``-- migrate:down`` divide the text; without these markers all of
    it is forward. With ``keep_refused``, statements that cannot run as a migration are kept for the rules.

    Raises:
        MigrationFault: The text does not parse, or a statement cannot run as a migration.
    """
    source = SourceFile(file, text)
    plain = strip_psql(source)
    is_down = direction == "backward" or file.name.endswith(".down.sql")
    refuse_dividers(source, plain.text, None if divided else "down" if is_down else "up")
    part = read_section(source, plain.text, direction) if divided else None
    # A migration that does nothing has nothing to undo.
    if divided and part is None and direction == "backward" and find_statement_start(plain.text) is not None:
        return None
    if part is not None:
        plain = evolve(plain, text=part.text)
    found = _parse_file(source, plain.text)
    if part is not None and part.unwritten:
        return None
    return _build_without_pair(source, plain, found, part, keep_refused)


def _build_without_pair(
    source: SourceFile,
    plain: PlainSql,
    found: list[RawStatement],
    part: DirectionSection | None,
    keep_refused: bool,
    *,
    theirs: bool = False,
    outside: bool = False,
) -> SqlScript:
    """Return the script without the BEGIN and COMMIT around its statements, if it runs in a transaction.

    With ``theirs``, the file is another tool's and cannot be changed, so every pair is passed over.
    """
    inner = _drop_plain_pairs(found) if theirs else _drop_plain_pair(found)
    outside = outside or (part is not None and not part.transactional)
    directives = _read_directives(source, plain, inner, outside)
    if not directives.transactional and inner is not found and not (theirs and outside):
        inner = found
        directives = _read_directives(source, plain, inner, outside)
    script = _build_script(source, plain, inner, directives, keep_refused)
    if inner is found:
        return script
    kept = {parsed.start for parsed in inner}
    dropped = [_describe_place(source, parsed) for parsed in found if parsed.start not in kept]
    return evolve(script, passed_over=f"{', '.join(dropped[:-1])} and {dropped[-1]}")


def split_statements(sql: str) -> tuple[str, ...]:
    """Return the statements of a text; the whole text as one if it does not parse."""
    if ";" not in sql.rstrip("; \t\r\f\v\n"):
        return (sql,)
    try:
        found = parse(sql)
    except ParseError:
        return (sql,)
    return tuple(_extract_sql(sql, parsed) for parsed in found) or (sql,)


def find_transaction_control(sql: str) -> str | None:
    """Return the first command in a text that begins or ends a transaction; else ``None``."""
    if not re.search(_MAY_CONTROL, sql, re.IGNORECASE):
        return None
    try:
        found = parse(sql)
    except ParseError:
        return None
    words = (find_transaction_words(parsed.kind, parsed.node, sql[parsed.start :]) for parsed in found)
    return next(filter(None, words), None)


def _drop_plain_pair(found: list[RawStatement]) -> list[RawStatement]:
    """Return the statements without a BEGIN at the top and a COMMIT at the end."""
    if len(found) > 1 and found[0].kind == found[-1].kind == "transaction_stmt":
        return found[1:-1] if is_plain_pair(found[0].node, found[-1].node) else found
    return found


def _drop_plain_pairs(found: list[RawStatement]) -> list[RawStatement]:
    """Return the statements without each BEGIN and its COMMIT; all of them if one has no counterpart."""
    ends = [parsed for parsed in found if parsed.kind == "transaction_stmt"]
    paired = len(ends) % 2 == 0 and all(
        is_plain_pair(begin.node, commit.node) for begin, commit in zip(ends[::2], ends[1::2], strict=True)
    )
    if not (ends and paired):
        return found
    return [parsed for parsed in found if parsed.kind != "transaction_stmt"]


def _read_directives(
    source: SourceFile, plain: PlainSql, found: list[RawStatement], outside: bool
) -> Directives:
    directives = read_directives(source, plain.text, [(parsed.start, parsed.end) for parsed in found])
    return evolve(directives, transactional=False) if outside else directives


def _describe_place(source: SourceFile, parsed: RawStatement) -> str:
    line, _ = locate_offset(source.text, parsed.start)
    return f"{' '.join(_extract_sql(source.text, parsed).split())} in line {line}"


def _build_script(
    source: SourceFile, plain: PlainSql, found: list[RawStatement], directives: Directives, keep_refused: bool
) -> SqlScript:
    by_statement = dict[int, tuple[tuple[str, str | None], ...]]()
    for index, ignores in directives.statement_ignores:
        by_statement[index] = by_statement.get(index, ()) + ignores
    if not keep_refused:
        for parsed in found:
            _refuse(source, parsed, directives.transactional)
    places = _locate_statements(plain.text, found)
    statements = tuple(
        _build_statement(source, plain, parsed, place, directives.transactional, by_statement.get(index, ()))
        for index, (parsed, place) in enumerate(zip(found, places, strict=True))
    )
    return SqlScript(
        file=source.file,
        statements=statements,
        transactional=directives.transactional,
        lock_timeout=directives.lock_timeout,
        statement_timeout=directives.statement_timeout,
        ignores=directives.ignores,
        text=source.text,
    )


def _build_statement(
    source: SourceFile,
    plain: PlainSql,
    parsed: RawStatement,
    place: tuple[int, int],
    transactional: bool,
    ignores: tuple[tuple[str, str | None], ...],
) -> Statement:
    outside = find_transaction_refusal(parsed.kind, parsed.node)
    return Statement(
        sql=_extract_sql(plain.text, parsed),
        line=place[0],
        column=place[1],
        kind=parsed.kind,
        in_transaction=transactional or outside is None,
        copy_data=_find_copy_data(source, plain, parsed),
        ignores=ignores,
        node=parsed.node,
        start=parsed.start,
        end=parsed.end,
    )


def _refuse(source: SourceFile, parsed: RawStatement, transactional: bool) -> None:
    """Raise a fault if a statement cannot run as a migration."""
    words = find_transaction_words(parsed.kind, parsed.node, source.text[parsed.start : parsed.end])
    if words:
        raise source.build_fault(
            f"{words} in a migration: confiture begins and ends the transaction itself",
            parsed.start,
            hint=f"remove {words}; to commit statements separately, put them into separate migrations, "
            "or run each outside a transaction with -- confiture: no-transaction",
        )
    outside = find_transaction_refusal(parsed.kind, parsed.node)
    if outside is None or not transactional:
        return
    end = find_transaction_end(parsed.kind, source.text[parsed.start : parsed.end])
    if outside.always or end:
        raise source.build_fault(
            f"{f'{outside.words} with {end.word}' if end else outside.words} cannot run inside a transaction",
            _locate_word(source.text, parsed, end) if end else parsed.start,
            hint="put this line above the first statement: -- confiture: no-transaction",
        )


def _locate_word(text: str, parsed: RawStatement, end: TransactionEnd) -> int:
    """Return the offset of a COMMIT or ROLLBACK inside a DO block, as good as its line tells."""
    offset = parsed.start
    for _ in range((end.line or 1) - 1):
        offset = text.index("\n", offset) + 1
    found = re.compile(rf"\b{end.word}\b", re.IGNORECASE).search(text, offset, parsed.end)
    return found.start() if found else parsed.start


def _find_copy_data(source: SourceFile, plain: PlainSql, parsed: RawStatement) -> str | None:
    if parsed.kind != "copy_stmt":
        return None
    copy = parsed.node.copy_stmt
    if copy.filename or copy.is_program:
        return None
    if not copy.is_from:
        raise source.build_fault(
            "COPY … TO STDOUT in a migration: nobody takes the rows that it sends",
            parsed.start,
            hint="remove it; to keep the rows: CREATE TABLE … AS SELECT …; to export them: \\copy in psql",
        )
    if parsed.start not in plain.copy_data:
        raise source.build_fault(
            "COPY … FROM STDIN without its data",
            parsed.start,
            hint="end the statement with a semicolon, and the data below it with \\. alone on a line",
        )
    return plain.copy_data[parsed.start]


def _extract_sql(text: str, parsed: RawStatement) -> str:
    return strip_trailing_comments(text[parsed.start : parsed.end])


def _locate_statements(text: str, found: list[RawStatement]) -> Iterator[tuple[int, int]]:
    """Yield line and column of each statement."""
    # Count on from the statement before, so that the time grows with the file and not with its square.
    line, line_start, done = 1, 0, 0
    for parsed in found:
        breaks = text.count("\n", done, parsed.start)
        if breaks:
            line, line_start = line + breaks, text.rfind("\n", done, parsed.start) + 1
        done = parsed.start
        yield line, parsed.start - line_start + 1


def _parse_file(source: SourceFile, text: str) -> list[RawStatement]:
    try:
        return parse(text)
    except ParseError as error:
        raise _build_syntax_fault(source, error) from None


def _build_syntax_fault(source: SourceFile, error: ParseError) -> MigrationFault:
    if error.offset is None:
        return source.build_fault(error.message)
    if source.text.startswith("\\", error.offset):
        return build_command_fault(source, error.offset)
    # The parser stops at the colon of a psql variable with a plain syntax error.
    return find_variable_fault(source, error.offset) or source.build_fault(error.message, error.offset)
