"""Read the steps of a Python migration of yoyo without running it: those that are plain SQL."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from attrs import define, field, frozen

from confiture.models.migration import Direction
from confiture.sql.position import SourceFile

_STEP = "step"
# https://ollycope.com/software/yoyo/latest/#grouping-steps; transaction is an older name of group.
_GROUPS = ("group", "transaction")
_HINT = (
    "write its SQL to NAME.sql and NAME.rollback.sql, with -- depends: and -- transactional: as it needs them"
)


@frozen
class StepSql:
    """SQL that a file has as a string.

    Attributes:
        sql: The SQL.
        line: The line on which the string begins.
        column: The column, from 0, of its first character.
    """

    sql: str
    line: int
    column: int


@frozen
class YoyoSteps:
    """What a file does, as far as it is known without running it.

    Attributes:
        forward: What its steps apply, in order.
        backward: What undoes them, in the order in which it runs.
        depends: The identifiers of the migrations that come before.
        transactional: False if it runs outside a transaction.
    """

    forward: tuple[StepSql, ...] = ()
    backward: tuple[StepSql, ...] = ()
    depends: tuple[str, ...] = ()
    transactional: bool = True

    def render(self, direction: Direction) -> str:
        """Return one direction as a text of SQL, each on its line of the file as long as lines ascend."""
        pieces: list[str] = []
        line = 1
        for step in self.forward if direction == "forward" else self.backward:
            lead = "\n" * max(step.line - line, 0 if not pieces else 1) + " " * step.column
            end = "\n;" if "--" in step.sql.rpartition("\n")[2] else ";"
            piece = f"{lead}{step.sql.rstrip().removesuffix(';')}{end}"
            pieces.append(piece)
            line += piece.count("\n")
        return "".join(pieces)


def read_steps(path: Path, text: str) -> YoyoSteps:
    """Return the steps of a file.

    Raises:
        MigrationFault: It does not parse, or does what only Python can do.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        source = SourceFile(path, text)
        fault = source.build_fault(f"this is no Python: {error}", hint="correct it, or delete it")
        fault.line = error.lineno if isinstance(error, SyntaxError) else None
        raise fault from None
    reader = _StepReader(SourceFile(path, text))
    for statement in tree.body:
        reader.read_statement(statement)
    return reader.build_steps()


@define
class _StepReader:
    """Reads the statements of a module, one after the other.

    Attributes:
        source: The file.
        texts: The strings that were assigned to names.
        pairs: What each step applies and what undoes it.
        depends: ``__depends__``.
        transactional: ``__transactional__``.
    """

    source: SourceFile
    texts: dict[str, ast.Constant] = field(factory=dict)
    pairs: list[tuple[StepSql | None, StepSql | None]] = field(factory=list)
    depends: tuple[str, ...] = ()
    transactional: bool = True

    def read_statement(self, node: ast.stmt) -> None:
        """Read a statement of the module.

        Raises:
            MigrationFault: It does what only Python can do.
        """
        # A function does nothing until a step names it.
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Pass):
            return
        if isinstance(node, ast.Expr):
            self._read_expression(node.value)
        elif isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
            self._assign([target.id for target in node.targets if isinstance(target, ast.Name)], node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            self._assign([node.target.id], node.value)
        else:
            self._refuse(node, "only Python can run this")

    def build_steps(self) -> YoyoSteps:
        """Return what was read."""
        forward = tuple(apply for apply, _ in self.pairs if apply)
        backward = tuple(rollback for _, rollback in reversed(self.pairs) if rollback)
        return YoyoSteps(forward, backward, self.depends, self.transactional)

    def _read_expression(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant):
            return
        if isinstance(node, ast.List | ast.Tuple):
            for element in node.elts:
                self._read_expression(element)
        elif isinstance(node, ast.Call) and _find_name(node.func) == _STEP:
            self.pairs.append(self._read_step(node))
        elif isinstance(node, ast.Call) and _find_name(node.func) in _GROUPS:
            self._refuse_ignored_errors(node)
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                self._read_expression(argument)
        else:
            self._refuse(node, "only Python can run this")

    def _assign(self, names: Iterable[str], value: ast.expr) -> None:
        for name in names:
            if name == "__depends__":
                self.depends = tuple(self._read_texts(value))
            elif name == "__transactional__":
                if not (isinstance(value, ast.Constant) and isinstance(value.value, bool)):
                    self._refuse(value, "__transactional__ is neither True nor False")
                self.transactional = value.value
            elif isinstance(value, ast.Constant):
                self.texts[name] = value
            else:
                self._read_expression(value)

    def _read_texts(self, node: ast.expr) -> Iterator[str]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Set | ast.List | ast.Tuple):
            for element in node.elts:
                yield from self._read_texts(element)
        elif not _is_empty_collection(node):
            self._refuse(node, "__depends__ is not written as names")

    def _read_step(self, node: ast.Call) -> tuple[StepSql | None, StepSql | None]:
        self._refuse_ignored_errors(node)
        given = dict(zip(("apply", "rollback", "ignore_errors"), node.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        apply, rollback = (self._read_sql(given.get(name)) for name in ("apply", "rollback"))
        return apply, rollback

    def _read_sql(self, node: ast.expr | None) -> StepSql | None:
        if isinstance(node, ast.Name):
            node = self.texts.get(node.id, node)
        if node is None or (isinstance(node, ast.Constant) and not node.value):
            return None
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            self._refuse(node, f"this step is Python, {ast.unparse(node).splitlines()[0]!r}, and not SQL")
        return StepSql(node.value, node.lineno, self._find_column(node))

    def _find_column(self, node: ast.Constant) -> int:
        """Return the column at which the text of a string begins."""
        # The offset of the tree counts bytes.
        line = self.source.text.split("\n")[node.lineno - 1]
        written = line.encode()[node.col_offset :].decode(errors="replace")
        begin = len(line) - len(written)
        quoted = written.lstrip("rRuUbB")
        quotes = 3 if quoted[:3] in ('"""', "'''") else 1
        return begin + len(written) - len(quoted) + quotes

    def _refuse_ignored_errors(self, node: ast.Call) -> None:
        ignored = [keyword.value for keyword in node.keywords if keyword.arg == "ignore_errors"]
        ignored += node.args[2:3] if _find_name(node.func) == _STEP else []
        for value in ignored:
            if not (isinstance(value, ast.Constant) and value.value is None):
                self._refuse(value, "this step ignores errors, and confiture stops at the first")

    def _refuse(self, node: ast.AST, message: str) -> NoReturn:
        line = getattr(node, "lineno", 1)
        offset = sum(len(text) + 1 for text in self.source.text.split("\n")[: line - 1])
        raise self.source.build_fault(message, offset + getattr(node, "col_offset", 0), hint=_HINT)


def _find_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_empty_collection(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _find_name(node.func) in ("set", "list", "tuple") and not node.args
