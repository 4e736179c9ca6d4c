"""Run a migration's statements one by one, and record the duration and row count of each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from attrs import define, field
from psycopg import Connection, Cursor
from psycopg.pq import PipelineStatus
from psycopg.sql import Composable

from confiture.engine.observer import NoObserver, Observer
from confiture.exceptions import MigrationFault
from confiture.models.migration import Statement
from confiture.models.report import StatementReport
from confiture.postgres.server_messages import ServerMessages
from confiture.postgres.session import fetch_results

_COUNTED_COMMANDS = ("INSERT", "UPDATE", "DELETE", "MERGE", "COPY")


@define
class StatementRunner:
    """Runs the statements of one migration and keeps a report of each.

    Attributes:
        conn: The connection that they run on.
        file: The migration's file, to find the line of a Python call.
        cpu_wait: Reads how long the server process has waited for a CPU.
        reports: One report per statement, in order.
        failed: The statement of the file that failed, to locate the error in the file.
        failed_line: The line of the Python call that failed.
        running: Line and text of the statement that runs now.
        wrap_python_statement: Context manager around each statement of a Python migration.
        observer: Observes each statement.
        warnings: Warnings of the server that belong to no statement in ``reports``.
    """

    conn: Connection[Any]
    file: Path | None
    cpu_wait: CpuWait
    reports: list[StatementReport] = field(factory=list)
    failed: Statement | None = None
    failed_line: int | None = None
    running: tuple[int | None, str] | None = None
    wrap_python_statement: Callable[[str, int | None], AbstractContextManager[None]] = lambda _sql, _line: (
        nullcontext()
    )
    observer: Observer = field(factory=NoObserver)
    warnings: list[str] = field(factory=list)
    _messages: ServerMessages = field(init=False)
    _cpu_wait_ms: float | None = None

    @_messages.default
    def _make_messages(self) -> ServerMessages:
        return ServerMessages(self.conn)

    @property
    def last_message(self) -> str | None:
        """What the server has said last while the statement runs, such as the progress of a backfill."""
        return self._messages.last

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Keep what the server says inside the block: with its statement, or in ``warnings``."""
        with self._messages.listen():
            try:
                yield
            finally:
                # Of a statement that failed, or that a Python migration ran on its connection itself.
                self._keep_warnings()

    def _keep_warnings(self) -> None:
        new = (message.message for message in self._messages.take() if message.is_warning)
        self.warnings += (f"the server warned: {text}" for text in new)

    def list_sql(self) -> tuple[str, ...]:
        """Return the statements that have run so far."""
        return tuple(report.sql for report in self.reports)

    @property
    def rows_affected(self) -> int:
        """Rows of INSERT, UPDATE, DELETE, MERGE and COPY."""
        return sum(report.rows or 0 for report in self.reports)

    def run(self, statement: Statement) -> None:
        """Run one statement of an SQL file.

        Raises:
            psycopg.Error: The statement failed; it is kept in ``failed``.
        """
        # A plain cursor, not conn.cursor(): an application may have set a cursor factory of another kind.
        cursor: Cursor[Any] = Cursor(self.conn)
        began = self._begin(statement.line, statement.sql)
        explain = self.observer.explain_sql(statement.sql)
        follow_up = "" if statement.copy_data or explain else self.observer.follow_up_sql
        try:
            # As bytes: for a str psycopg's types ask for a literal, which the text of a file is not. Never
            # prepared: a transaction pooler may run the next statement on another server connection.
            if explain is not None:
                cursor.execute(explain.encode(), prepare=False)
            elif statement.copy_data is None:
                # Behind the statement, so that positions in an error's message stay. On a new line: the text
                # may end in a comment.
                text = f"{statement.sql}\n;{follow_up}" if follow_up else statement.sql
                cursor.execute(text.encode(), prepare=False)
            else:
                with cursor.copy(statement.sql.encode()) as copy:
                    copy.write(statement.copy_data.encode())
        except BaseException:
            self.failed = statement
            raise
        self._note(
            statement.line,
            statement.sql,
            cursor,
            began,
            explained=explain is not None,
            followed=bool(follow_up),
        )

    def execute(self, sql: str | bytes | Composable, params: Any = None) -> Cursor[Any]:
        """Run the SQL of a Python migration's ``execute``; several statements run one at a time.

        With ``params`` it is sent as it is: PostgreSQL allows parameters in a single statement only.
        """
        line = _find_calling_line(self.file)
        text = self._read_text(sql, line)
        if self.conn.pgconn.pipeline_status != PipelineStatus.OFF:
            # Neither its rows nor its locks could be read, and one of its errors would be the next one's.
            raise MigrationFault(
                "execute() inside a pipeline cannot be observed",
                hint="use self.connection.execute() there, or execute() outside of the pipeline",
                file=self.file,
                line=line,
            )
        cursor: Cursor[Any] | None = None
        for statement in _split(text) if params is None else (text,):
            cursor = self.conn.cursor()
            began = self._begin(line, statement)
            try:
                with self.wrap_python_statement(statement, line):
                    cursor.execute(statement.encode(), params)
            except BaseException:
                self.failed_line = line
                raise
            self._note(line, statement, cursor, began)
        assert cursor is not None
        return cursor

    def _read_text(self, sql: object, line: int | None) -> str:
        """Return the text of what a Python migration executes: a str, or what psycopg takes too."""
        if isinstance(sql, Composable):
            sql = sql.as_string(self.conn)
        text = sql.decode() if isinstance(sql, bytes) else sql
        if not isinstance(text, str):
            raise MigrationFault(
                f"execute() takes SQL, not a {type(sql).__name__}", file=self.file, line=line
            )
        # libpq ends the text there, and the rest would not run.
        if "\0" in text:
            raise MigrationFault("the SQL contains a NUL character", file=self.file, line=line)
        return text

    def _begin(self, line: int | None, sql: str) -> float:
        self._keep_warnings()
        # First: the observer may refuse the statement, and says which.
        self.running = line, sql
        self.observer.before_statement(sql)
        # An event trigger of the user's may speak when the tracer creates its own.
        self._messages.take()
        self._cpu_wait_ms = self.cpu_wait.read_ms()
        # Last: neither the observer's preparations nor reading /proc count as the statement's time.
        return time.perf_counter()

    def _note(
        self,
        line: int | None,
        sql: str,
        cursor: Cursor[Any],
        began: float,
        *,
        explained: bool = False,
        followed: bool = False,
    ) -> None:
        duration_ms = (time.perf_counter() - began) * 1000
        self.running = None
        messages = self._messages.take()
        waited_ms = _compute_wait_ms(self._cpu_wait_ms, self.cpu_wait.read_ms(), duration_ms)
        plan, rows = self.observer.read_plan(cursor) if explained else (None, _read_row_count(cursor))
        if followed:
            duration_ms -= self.observer.take_follow_up(fetch_results(cursor))
        self.reports.append(
            StatementReport(
                line=line,
                sql=sql,
                duration_ms=duration_ms,
                rows=rows,
                notices=messages,
                plan=plan,
                cpu_wait_ms=waited_ms,
            )
        )
        self.observer.after_statement(sql, duration_ms)
        self._messages.take()


def _compute_wait_ms(before_ms: float | None, after_ms: float | None, most_ms: float) -> float | None:
    if before_ms is None or after_ms is None:
        return None
    return min(max(after_ms - before_ms, 0.0), most_ms)


def _read_row_count(cursor: Cursor[Any]) -> int | None:
    """Return the count in the command tag, for the commands whose rows are reported."""
    words = (cursor.statusmessage or "").split()
    return int(words[-1]) if words and words[0] in _COUNTED_COMMANDS and words[-1].isdigit() else None


def _split(sql: str) -> tuple[str, ...]:
    # A single statement needs no parser, and importing it is slow.
    if ";" not in sql.rstrip().rstrip(";"):
        return (sql,)
    from confiture.sql.script import split_statements

    return split_statements(sql) or (sql,)


def _find_calling_line(file: Path | None) -> int | None:
    frame = sys._getframe(1) if file else None
    while frame is not None:
        if frame.f_code.co_filename == str(file):
            return frame.f_lineno
        frame = frame.f_back
    return None


_LOCAL_HOSTS = ("", "localhost", "127.0.0.1", "::1")


@define
class CpuWait:
    """Reads how long one session's server process has waited for a CPU.

    Attributes:
        schedstat_fd: The server process's open ``/proc/PID/schedstat``; ``None`` if it is not readable here.
    """

    schedstat_fd: int | None

    @classmethod
    def find(cls, conn: Connection[Any]) -> CpuWait:
        """Find the server process of a session, if it runs on this machine."""
        host = conn.info.host
        if host not in _LOCAL_HOSTS and not host.startswith("/"):
            return cls(None)
        process = Path(f"/proc/{conn.info.backend_pid}")
        try:
            # Behind a forwarded port the server is on another machine, and this PID is another program's.
            if not (process / "comm").read_text().startswith("postgres"):
                return cls(None)
            return cls(os.open(process / "schedstat", os.O_RDONLY))
        except (OSError, ValueError):
            return cls(None)

    def read_ms(self) -> float | None:
        """Return how long it has waited since it started, in milliseconds; ``None`` if unknown."""
        if self.schedstat_fd is None:
            return None
        try:
            # Three numbers: time on a CPU and time waiting for one, in nanoseconds, and the timeslices.
            return int(os.pread(self.schedstat_fd, 100, 0).split()[1]) / 1e6
        except (OSError, ValueError, IndexError):
            return None

    def __del__(self) -> None:
        if self.schedstat_fd is not None:
            os.close(self.schedstat_fd)
