"""Count what a no-transaction migration has committed, and say so after a failure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

_MOST_LINES = 8


@define
class CommittedWork:
    """The parts of a no-transaction migration that a failure does not roll back.

    Attributes:
        total: The number of its statements; ``None`` for Python, whose statements are known when they run.
        lines: The line of each statement that is committed, those of an earlier run included.
        phases: The phases whose hooks are committed.
        open_line: The line of the statement that was sent and is not known to have ended.
        doubt: What is known of that statement, as a clause; ``None`` if there is none.
        in_own_transactions: Python statements inside a transaction that the migration itself began.
        uncounted: True if a Python migration used its connection itself, which reports nothing.
    """

    total: int | None = None
    lines: list[int | None] = field(factory=list)
    phases: list[str] = field(factory=list)
    open_line: int | None = None
    doubt: str | None = None
    in_own_transactions: int = 0
    uncounted: bool = False

    def set_doubt(self, line: int | None, doubt: str | None) -> None:
        """Note what is known of a statement that was sent and did not end well."""
        self.open_line, self.doubt = line, doubt

    def describe(self) -> str:
        """Return what is committed and what may be, as a clause."""
        parts = [self._describe_statements()]
        if self.doubt:
            where = "a statement" if self.open_line is None else f"line {self.open_line}"
            parts.append(f"{where} {self.doubt}")
        if self.in_own_transactions:
            parts.append(
                f"{self.in_own_transactions} more ran in a transaction that the migration began itself"
            )
        if self.uncounted:
            parts.append("what it ran on self.connection itself is not counted")
        if self.phases:
            parts.append(f"the hooks of {', '.join(self.phases)} are committed")
        return "; ".join(parts)

    def _describe_statements(self) -> str:
        count = len(self.lines)
        if not count:
            return f"no statement {'of execute() ' if self.uncounted else ''}is committed"
        of = "" if self.total is None else f" of {self.total}"
        plural = "" if (self.total or count) == 1 else "s"
        verb = "is" if count == 1 else "are"
        return f"{count}{of} statement{plural} {verb} committed{_format_lines(self.lines)}"


def _format_lines(lines: Sequence[int | None]) -> str:
    known = list(dict.fromkeys(line for line in lines if line is not None))
    if not known:
        return ""
    shown = ", ".join(map(str, known[:_MOST_LINES]))
    more = f" and {len(known) - _MOST_LINES} more" if len(known) > _MOST_LINES else ""
    return f" ({'line' if len(known) == 1 else 'lines'} {shown}{more})"
