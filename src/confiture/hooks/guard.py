"""The guard around every hook: its savepoint, and the checks after it.

A hook runs inside a savepoint with a random name. After it, the guard looks at the transaction's status
before it sends anything: psycopg knows the status without a query, and in some states no query would be
answered. Then one message restores the settings, closes cursors, releases the savepoint and opens the
next one, so that n hooks cost n + 1 control round trips; each wrapper costs two more.

The savepoint's name is random because a raw COMMIT cannot be seen by the transaction id: PostgreSQL
assigns none before the first write. A COMMIT destroys the savepoint, so releasing it fails (3B001); and
no hook can know the name and open a savepoint that looks the same.

A hook's SQL is never in the guard's messages. PostgreSQL parses a whole message before it runs any of it,
so a syntax error of the hook would reject the SAVEPOINT as well, and error positions would be shifted.

This guards against mistakes, not against malice: a plugin runs with the rights of the migration's role.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Generator, Iterable
from inspect import isgenerator
from typing import Any, cast

import psycopg
from attrs import define, evolve, field
from psycopg.pq import TransactionStatus

from confiture.exceptions import UserFault, read_message
from confiture.hooks.api import HookContext, HookError, HookResult, check_stats, describe_hook
from confiture.hooks.guarded_settings import (
    CURSORS_SQL,
    GUARDED_SETTINGS,
    SETTINGS_SQL,
    render_restore_sql,
    render_set_local_sql,
)
from confiture.hooks.hook_observer import HookObserver, NoHookObserver
from confiture.hooks.implementation import Checkpoints, HookFatal, HookImplementation, HookMisuse
from confiture.models.report import HookReport
from confiture.postgres.session import Session, end_copy, fetch_rows, has_open_copy, send
from confiture.sql.quote import quote_ident
from confiture.units import format_count


@define
class _HookCall:
    """One call of a hook, and the state to restore if it is rolled back.

    A commit at a generator's ``yield`` gives it a new savepoint and a new state to restore.
    """

    ref: HookImplementation
    savepoint: str
    reports_before: int
    stats: dict[str, Any]
    restore_context: Callable[[], None]
    wanted_settings: dict[str, str]
    local_settings: dict[str, str]
    began_s: float
    since_ms: float = 0.0
    commit_count: int = 0
    handed_over: dict[str, Any] = field(factory=dict)

    def check_stats(self, result: Any) -> None:
        """Turn all stats into values that every report can show: a hook may have changed them since.

        Raises:
            TypeError: One cannot be shown.
        """
        own = result.stats if isinstance(result, HookResult) else None
        self.handed_over = {**self.stats, **(own or {})}
        self.stats = check_stats(self.handed_over)

    @property
    def duration_ms(self) -> float:
        return (time.perf_counter() - self.began_s) * 1000


@define
class Guard:
    """Runs the hooks of one phase in one transaction, each inside a savepoint.

    Attributes:
        session: The connection, and whether confiture or a caller owns it.
        context: The context that the hooks get; bound to one hook at a time.
        plain_left: How many hooks that are not wrappers have yet to run.
        list_changed: Returns the relations that the migration has changed so far.
        list_statements: Returns the SQL that it has run so far.
        reports: One report per hook, in the order in which they ended.
        begun_hooks: Every hook that has begun.
        warnings: Settings that were restored, failures that the migration continued past, and the warnings
            of hooks.
        checkpoints: Commits at a generator hook's ``yield``; ``None`` in a transaction or a rehearsal.
        local_settings: Settings that hooks made with ``set_local``, valid until the migration ends.
        fatal_error: The failure that stops every further hook, whatever its policy.
        progress: How often the generator hook that runs has committed, in words.
        observer: Observes each hook of ``reports`` in a rehearsal.
    """

    session: Session
    context: HookContext
    plain_left: int
    list_changed: Callable[[], tuple[str, ...]]
    list_statements: Callable[[], tuple[str, ...]] = tuple
    checkpoints: Checkpoints | None = None
    reports: list[HookReport] = field(factory=list)
    begun_hooks: list[HookImplementation] = field(factory=list)
    warnings: list[str] = field(factory=list)
    local_settings: dict[str, str] = field(factory=dict)
    fatal_error: BaseException | None = None
    progress: str | None = None
    observer: HookObserver = field(factory=NoHookObserver)
    _wanted_settings: dict[str, str] = field(factory=dict)
    _cursors: frozenset[str] = frozenset()
    _next_savepoint: str | None = None
    _wrappers: list[_HookCall] = field(factory=list)

    # The calls of HookContext.

    def relations(self) -> tuple[str, ...]:
        """Return the relations that the migration has changed so far."""
        self._refuse_open()
        return self.list_changed()

    def statements(self) -> tuple[str, ...]:
        """Return the SQL that the migration has run so far."""
        return self.list_statements()

    def warn(self, message: str) -> None:
        """Add a hook's warning to the report, with the name of its plugin."""
        self.warnings.append(f"{self.context.data.writer}: {message}")

    def set_local(self, name: str, value: str) -> None:
        """Change a setting until the migration ends; the guard now restores it to this value."""
        self._refuse_open()
        # The server's spelling of the value ("3s" for 3000): the guard compares with current_setting.
        ((now,),) = fetch_rows(self.session.conn, render_set_local_sql(name, value))
        # Noted at once, not when the hook ends: a wrapper's value must hold for the hooks inside it.
        # `_undo` restores both dictionaries if this hook is rolled back.
        spelled = {setting.lower(): setting for setting in GUARDED_SETTINGS}
        name = spelled.get(name.lower(), name)
        self.local_settings[name] = now
        if name in self._wanted_settings:
            self._wanted_settings[name] = now

    # One hook.

    def call(self, ref: HookImplementation, function: Callable[[], Any]) -> HookResult | None:
        """Run one hook in its savepoint; return ``None`` if it failed and its policy is to continue.

        Raises:
            HookError: It failed, and its policy is to stop the migration.
        """
        self.plain_left -= 1
        call = self._begin(ref)
        try:
            with self._lend_context(call):
                result = self._run_to_end(call, function())
            self._check(result)
            call.check_stats(result)
            self._release(call)
        except KeyboardInterrupt:
            # A signal is no failure of the hook: no policy applies, and the whole transaction ends.
            raise
        except BaseException as error:
            self._undo(call, error)
            return None
        if result is not None and not result.execution_time_ms:
            result = evolve(result, execution_time_ms=call.duration_ms)
        self._keep(call, result)
        return cast(HookResult | None, result)

    def wrap(self, ref: HookImplementation, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run a pluggy wrapper: its savepoint encloses those of the hooks inside it."""
        call = self._begin(ref)
        try:
            self._run_first_half(call, generator)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._undo(call, error)
            return (yield)  # the hooks inside run without this wrapper
        inner, failed = yield from self._run_inner_hooks(call)
        if self.fatal_error:
            # No transaction is left for the wrapper's second half.
            with contextlib.suppress(Exception):
                generator.close()
            raise self.fatal_error
        try:
            result = self._run_second_half(call, generator, inner, failed)
            self._check(None)
            call.check_stats(result)
            self._release(call)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._undo(call, error, failed)
            return []
        self._keep(call, result if isinstance(result, HookResult) else None)
        return result

    def _run_first_half(self, call: _HookCall, generator: Generator[Any, Any, Any]) -> None:
        with self._lend_context(call):
            try:
                next(generator)
            except StopIteration:
                raise HookMisuse("a wrapper yields once; this one did not yield") from None
        self._check(None)

    def _run_inner_hooks(self, call: _HookCall) -> Generator[Any, Any, tuple[Any, BaseException | None]]:
        """Let the hooks inside the wrapper run; return their results, or their failure."""
        self._wrappers.append(call)
        try:
            return (yield), None
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            return None, error
        finally:
            self._wrappers.pop()

    def _run_second_half(
        self, call: _HookCall, generator: Generator[Any, Any, Any], inner: Any, failed: BaseException | None
    ) -> Any:
        with self._lend_context(call):
            try:
                generator.throw(failed) if failed else generator.send(inner)
            except StopIteration as end:
                return end.value
        raise HookMisuse("a wrapper yields once; this one yielded twice")

    def _lend_context(self, call: _HookCall) -> Any:
        ref = call.ref
        resume = self.checkpoints.resume(ref) if self.checkpoints else None
        return self.context.lend_to_hook(
            self, ref.phase, ref.plugin or ref.name, ref.config, call.stats, resume
        )

    # Generator hooks.

    def _run_to_end(self, call: _HookCall, result: Any) -> Any:
        """Run a generator hook to its end; each yield commits if there are checkpoints."""
        if not isgenerator(result):
            return result
        nesting = _count_transactions(self.session.conn)
        with contextlib.closing(result):
            while True:
                try:
                    progress = next(result)
                except StopIteration as end:
                    return end.value
                # A commit here would end a block that the hook has open: psycopg would then release a
                # savepoint that is gone.
                if _count_transactions(self.session.conn) != nesting:
                    raise HookMisuse("it yielded inside its own `with conn.transaction():`")
                if self.checkpoints:
                    self._commit(self.checkpoints, call, progress)

    def _commit(self, checkpoints: Checkpoints, call: _HookCall, progress: Any) -> None:
        self._check(None)
        # Encoded before the savepoint is released: a value that cannot be stored still undoes the hook.
        stored = checkpoints.encode_progress(progress)
        # `last`: a savepoint opened now would end with the commit.
        self._release(call, last=True)
        try:
            checkpoints.commit(call.ref, stored)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.fatal_error = self._build_commit_failure(call.ref, error)
            raise
        call.commit_count += 1
        self.progress = f"{_describe(call.ref)} has committed {format_count(call.commit_count, 'time')}"
        # From here on a rollback goes back to this commit, in Python as in the database.
        call.restore_context = self.context.save_state()
        self._begin_again((*self._wrappers, call))

    def _build_commit_failure(self, ref: HookImplementation, error: BaseException) -> BaseException:
        """Return the error of a failed commit: no transaction is left for another hook to run in."""
        if isinstance(error, UserFault):
            return error  # the migration lock was lost: not the hook's fault
        # If the connection broke during COMMIT, nobody knows whether the server has committed.
        return HookFatal(ref, error, may_be_committed=self.session.lost)

    def _begin_again(self, calls: Iterable[_HookCall]) -> None:
        """Give each open hook a new savepoint, and repeat the local settings: a commit has ended both."""
        message = [render_set_local_sql(name, value) for name, value in self.local_settings.items()]
        for call in calls:
            call.reports_before, call.savepoint = len(self.reports), _make_savepoint_name()
            call.wanted_settings, call.local_settings = dict(self._wanted_settings), dict(self.local_settings)
            message.append(f"SAVEPOINT {call.savepoint}")
        send(self.session.conn, "; ".join(message))

    # The savepoint.

    def _begin(self, ref: HookImplementation) -> _HookCall:
        if self.fatal_error:
            raise self.fatal_error
        self.begun_hooks.append(ref)
        return _HookCall(
            ref=ref,
            savepoint=self._open_savepoint(),
            reports_before=len(self.reports),
            stats={},
            restore_context=self.context.save_state(),
            wanted_settings=dict(self._wanted_settings),
            local_settings=dict(self.local_settings),
            began_s=time.perf_counter(),
            since_ms=self.observer.read_clock_ms(),
        )

    def _open_savepoint(self) -> str:
        ready, self._next_savepoint = self._next_savepoint, None
        if ready:
            return ready
        name = _make_savepoint_name()
        if self._wanted_settings:
            # A wrapper's first half has just run, without a check of its settings. Whatever differs now
            # is its doing; the hooks inside it must not inherit that.
            changed = send(self.session.conn, f"{self._render_restore_sql()} SAVEPOINT {name}")
            self._warn(self._wrappers[-1].ref, changed[0][0] + changed[1][0])
        else:
            # The first hook of the phase: note what there is, to compare with after each hook.
            settings, cursors = send(self.session.conn, f"{SETTINGS_SQL} SAVEPOINT {name}")
            self._wanted_settings = dict(zip(GUARDED_SETTINGS, settings[0], strict=True))
            self._cursors = frozenset(cursor for (cursor,) in cursors)
        return name

    def _render_restore_sql(self) -> str:
        return render_restore_sql(self._wanted_settings, self.session.get_caller_settings())

    def _check(self, result: Any) -> None:
        """Refuse what a hook left behind, before anything is sent.

        ``transaction_status`` costs no round trip, and each status asks for something else: INTRANS is as
        it should be; ACTIVE is a COPY left open, beside which any execute would wait for ever; INERROR
        refuses every statement but a rollback; after IDLE the settings would be sent outside a
        transaction, and last; on UNKNOWN nothing can be sent.
        """
        status = self.session.conn.info.transaction_status
        self._refuse_open()
        if not isinstance(result, HookResult | None):
            raise HookMisuse(f"it returned {type(result).__name__}, not a HookResult or None")
        if status == TransactionStatus.INERROR:
            raise HookMisuse(
                "it caught an SQL error but did not roll it back: "
                "wrap the statement in `with conn.transaction():`"
            )
        if status == TransactionStatus.UNKNOWN:
            raise HookMisuse("it closed or lost the connection")
        if status == TransactionStatus.IDLE:
            raise HookMisuse(_ENDED_TRANSACTION)

    def _refuse_open(self) -> None:
        if has_open_copy(self.session.conn):
            raise HookMisuse("it left a COPY or a result open")

    def _release(self, call: _HookCall, *, last: bool = False) -> None:
        """End a hook that succeeded, and open the next savepoint, in one message.

        The order matters. The settings come first, and statement_timeout first of them, so that a hook's
        own timeout cannot cancel the rest. The snapshot comes after RELEASE, which keeps the hook's locks,
        and before the next savepoint. One message takes 135 µs; psycopg's own block takes 208.
        """
        # On a caller's connection CLOSE ALL would close the caller's cursors too: list them, and close
        # only the new ones below.
        close = "CLOSE ALL;" if self.session.owned else f"{CURSORS_SQL};"
        following = None if last else self._name_next_savepoint()
        snapshot = self.observer.snapshot_sql
        results = send(
            self.session.conn,
            f"{self._render_restore_sql()} {close} RELEASE {call.savepoint}; {snapshot} "
            f"{_render_savepoint(following)}",
        )
        self._next_savepoint = following
        results = self.observer.take_snapshots(results)
        self._warn(call.ref, results[0][0] + results[1][0])
        left = [cursor for answer in results[2:] for (cursor,) in answer if cursor not in self._cursors]
        if left:
            send(self.session.conn, "; ".join(f"CLOSE {quote_ident(cursor)}" for cursor in left))

    def _name_next_savepoint(self) -> str | None:
        """Name the next hook's savepoint, or return ``None`` after the last hook that is not a wrapper.

        A wrapper's second half may come next; it runs in the savepoint that its first half opened.
        """
        return _make_savepoint_name() if self.plain_left > 0 else None

    def _keep(self, call: _HookCall, result: HookResult | None) -> None:
        self.progress = None
        self.reports.append(self._make_report(call, result))
        self.observer.end_hook(call.since_ms)

    def _make_report(self, call: _HookCall, result: HookResult | None) -> HookReport:
        return HookReport(
            phase=call.ref.phase.spec,
            plugin=call.ref.plugin,
            hook=result.hook_name if result else call.ref.name,
            outcome="kept",
            duration_ms=call.duration_ms,
            # psycopg counts -1 rows of a statement that changes none.
            rows_affected=max(result.rows_affected, 0) if result else 0,
            stats=dict(call.stats),
            handed_over=call.handed_over,
        )

    def _warn(self, ref: HookImplementation, changed: tuple[str | None, ...]) -> None:
        for name, value in zip(GUARDED_SETTINGS, changed, strict=True):
            warning = (
                f"{_describe(ref)} changed {name} to {value!r}; restored to {self._wanted_settings[name]!r} "
                "(context.set_local keeps a setting until the migration ends)"
            )
            # A generator hook does it again at each yield: warn once.
            if value is not None and warning not in self.warnings:
                self.warnings.append(warning)

    # Failures.

    def _undo(self, call: _HookCall, error: BaseException, inner: BaseException | None = None) -> None:
        """Roll back to the hook's savepoint, then continue or raise, as its policy says.

        ``inner`` is the failure of a hook inside a wrapper. If the wrapper raises it again, or fails and
        its policy is to continue, the error names the inner hook, and that hook's policy holds.
        """
        self._wanted_settings, self.local_settings = call.wanted_settings, call.local_settings
        call.restore_context()
        call.stats, call.handed_over = {}, {}
        self.reports[call.reports_before :] = [
            *(evolve(report, outcome="undone") for report in self.reports[call.reports_before :]),
            evolve(self._make_report(call, None), outcome="undone"),
        ]
        if call.commit_count:
            times = format_count(call.commit_count, "time")
            self.warnings.append(f"{_describe(call.ref)} had committed {times}; those commits are kept")
        if self.fatal_error:
            raise self.fatal_error
        self._roll_back(call, error)
        self.observer.end_hook(call.since_ms)
        if isinstance(error, psycopg.Rollback):
            return  # psycopg's way to ask for a rollback: not a failure
        if error is inner:
            raise error
        if not call.ref.continues_on_failure:
            raise HookError(call.ref.name, call.ref.phase, error, plugin=call.ref.plugin) from error
        message = read_message(error) or type(error).__name__
        self.warnings.append(f"{_describe(call.ref)} failed and was rolled back: {message}")
        if inner is not None:
            raise inner

    def _roll_back(self, call: _HookCall, error: BaseException) -> None:
        """Roll back to a hook's savepoint, and open the next one, in one message.

        It restores no settings: ROLLBACK TO restores those that were changed since the savepoint.

        Raises:
            HookFatal: The transaction or the connection is gone.
        """
        conn = self.session.conn
        # A COPY left open would make the ROLLBACK wait for ever.
        end_copy(conn)
        status = conn.info.transaction_status
        if status == TransactionStatus.UNKNOWN:
            lost = (
                error
                if isinstance(error, HookMisuse)
                else HookMisuse(f"the connection was lost: {read_message(error)}")
            )
            self._stop(call.ref, lost, error, committed=False)
        if status == TransactionStatus.IDLE:
            self._stop(call.ref, HookMisuse(_ENDED_TRANSACTION), error)
        following = self._name_next_savepoint()
        # ROLLBACK TO gives the hook's locks back, so a snapshot is taken before it. After an SQL error
        # (INERROR) no query runs until the rollback.
        snapshot = self.observer.snapshot_sql
        before = snapshot if status == TransactionStatus.INTRANS else ""
        undo = f"ROLLBACK TO {call.savepoint}; RELEASE {call.savepoint}"
        try:
            results = send(conn, f"{before} {undo}; {snapshot} {_render_savepoint(following)}")
            self.observer.take_snapshots(results, 2 if before else 1)
        except psycopg.Error as gone:
            # An error of the server has an SQLSTATE; without one the connection broke. With one, the
            # savepoint is missing: the hook ended the transaction and began another.
            if gone.sqlstate is None:
                self._stop(call.ref, HookMisuse(f"the connection was lost: {gone}"), gone, committed=False)
            self._stop(call.ref, HookMisuse(_ENDED_TRANSACTION), gone)
        self._next_savepoint = following

    def _stop(
        self, ref: HookImplementation, misuse: HookMisuse, cause: BaseException, *, committed: bool = True
    ) -> None:
        if misuse is not cause:
            misuse.__cause__ = cause
        self.fatal_error = HookFatal(ref, misuse, may_be_committed=committed)
        raise self.fatal_error


_ENDED_TRANSACTION = "it ended the transaction (it ran COMMIT or ROLLBACK itself)"


def _render_savepoint(following: str | None) -> str:
    return f"SAVEPOINT {following}" if following else ""


def _make_savepoint_name() -> str:
    return f"confiture_{secrets.token_hex(8)}"


def _describe(ref: HookImplementation) -> str:
    return describe_hook(ref.name, ref.plugin)


def _count_transactions(conn: psycopg.Connection[Any]) -> int:
    """Return how many transaction blocks are open; psycopg counts them but has no public attribute."""
    return int(getattr(conn, "_num_transactions", 0))
