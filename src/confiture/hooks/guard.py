"""The guard around every hook: its savepoint, and the checks after it.

A hook runs inside a savepoint. After it, the guard looks at the transaction's status before it sends
anything: psycopg knows the status without a query, and in some states no query would be answered. This
module decides whether a hook is kept, undone or fatal; ``savepoints`` has the SQL.

This guards against mistakes, not against malice: a plugin runs with the rights of the migration's role.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from inspect import isgenerator
from typing import Any, cast

import psycopg
from attrs import define, evolve, field

from confiture.exceptions import UserFault, read_message
from confiture.hooks.api import HookError, HookResult, check_stats, describe_hook
from confiture.hooks.hook_context import HookContext
from confiture.hooks.implementation import Checkpoints, HookFatal, HookImplementation, HookMisuse
from confiture.hooks.savepoints import HookSavepoints, Savepoint
from confiture.models.report import HookReport
from confiture.units import format_count


@define
class _HookCall:
    """One call of a hook, and the state to restore if it is rolled back.

    A commit at a generator's ``yield`` gives it a new savepoint and a new state to restore.
    """

    ref: HookImplementation
    savepoint: Savepoint
    reports_before: int
    restore_context: Callable[[], None]
    began_s: float
    since_ms: float
    stats: dict[str, Any] = field(factory=dict)
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
        savepoints: The savepoints of the phase's hooks, and the settings that hooks made.
        context: The context that the hooks get; bound to one hook at a time.
        list_changed: Returns the relations that the migration has changed so far.
        list_statements: Returns the SQL that it has run so far.
        reports: One report per hook, in the order in which they ended.
        begun_hooks: Every hook that has begun.
        warnings: Settings that were restored, failures that the migration continued past, and the warnings
            of hooks.
        checkpoints: Commits at a generator hook's ``yield``; ``None`` in a transaction or a rehearsal.
        fatal_error: The failure that stops every further hook, whatever its policy.
        progress: How often the generator hook that runs has committed, in words.
    """

    savepoints: HookSavepoints
    context: HookContext
    list_changed: Callable[[], tuple[str, ...]]
    list_statements: Callable[[], tuple[str, ...]] = tuple
    checkpoints: Checkpoints | None = None
    reports: list[HookReport] = field(factory=list)
    begun_hooks: list[HookImplementation] = field(factory=list)
    warnings: list[str] = field(factory=list)
    fatal_error: BaseException | None = None
    progress: str | None = None
    _wrappers: list[_HookCall] = field(factory=list)

    # The calls of HookContext.

    def relations(self) -> tuple[str, ...]:
        """Return the relations that the migration has changed so far."""
        self.savepoints.refuse_open()
        return self.list_changed()

    def statements(self) -> tuple[str, ...]:
        """Return the SQL that the migration has run so far."""
        return self.list_statements()

    def warn(self, message: str) -> None:
        """Add a hook's warning to the report, with the name of its plugin."""
        self.warnings.append(f"{self.context.data.writer}: {message}")

    def set_local(self, name: str, value: str) -> None:
        """Change a setting until the migration ends; the guard now restores it to this value."""
        self.savepoints.refuse_open()
        self.savepoints.set_local(name, value)

    # One hook.

    def call(self, ref: HookImplementation, function: Callable[[], Any]) -> HookResult | None:
        """Run one hook in its savepoint; return ``None`` if it failed and its policy is to continue.

        Raises:
            HookError: It failed, and its policy is to stop the migration.
        """
        # Before the hook runs: the message that ends it opens a savepoint only if another hook follows.
        self.savepoints.plain_left -= 1
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
            # What a wrapper returns replaces the results of the hooks inside it, which were undone with it.
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
        nesting = _count_transactions(self.savepoints.session.conn)
        with contextlib.closing(result):
            while True:
                try:
                    progress = next(result)
                except StopIteration as end:
                    return end.value
                # A commit here would end a block that the hook has open: psycopg would then release a
                # savepoint that is gone.
                if _count_transactions(self.savepoints.session.conn) != nesting:
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
        return HookFatal(ref, error, may_be_committed=self.savepoints.session.lost)

    def _begin_again(self, calls: Sequence[_HookCall]) -> None:
        """Give each open hook a new savepoint: the commit has ended the old ones."""
        for call, savepoint in zip(calls, self.savepoints.reopen(len(calls)), strict=True):
            call.reports_before, call.savepoint = len(self.reports), savepoint

    # Begin and end.

    def _begin(self, ref: HookImplementation) -> _HookCall:
        if self.fatal_error:
            raise self.fatal_error
        self.begun_hooks.append(ref)
        savepoint, changes = self.savepoints.open()
        if changes:
            # Of the wrapper whose first half has just run: no other code ran since the last check.
            self._warn(self._wrappers[-1].ref, changes)
        return _HookCall(
            ref,
            savepoint,
            reports_before=len(self.reports),
            restore_context=self.context.save_state(),
            began_s=time.perf_counter(),
            since_ms=self.savepoints.observer.read_clock_ms(),
        )

    def _check(self, result: Any) -> None:
        """Refuse what a hook returned or left behind, before anything is sent."""
        self.savepoints.refuse_open()
        if not isinstance(result, HookResult | None):
            raise HookMisuse(f"it returned {type(result).__name__}, not a HookResult or None")
        self.savepoints.check_status()

    def _release(self, call: _HookCall, *, last: bool = False) -> None:
        self._warn(call.ref, self.savepoints.release(call.savepoint, last=last))

    def _keep(self, call: _HookCall, result: HookResult | None) -> None:
        self.progress = None
        self.reports.append(self._make_report(call, result))
        self.savepoints.observer.end_hook(call.since_ms)

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

    def _warn(self, ref: HookImplementation, changes: Iterable[str]) -> None:
        for change in changes:
            warning = f"{_describe(ref)} {change}"
            # A generator hook does it again at each yield: warn once.
            if warning not in self.warnings:
                self.warnings.append(warning)

    # Failures.

    def _undo(self, call: _HookCall, error: BaseException, inner: BaseException | None = None) -> None:
        """Roll back to the hook's savepoint, then continue or raise, as its policy says.

        ``inner`` is the failure of a hook inside a wrapper. If the wrapper raises it again, or fails and
        its policy is to continue, the error names the inner hook, and that hook's policy holds.
        """
        self.savepoints.forget_settings_since(call.savepoint)
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
        try:
            self.savepoints.roll_back(call.savepoint, call.ref, error)
        except HookFatal as fatal:
            self.fatal_error = fatal
            raise
        self.savepoints.observer.end_hook(call.since_ms)
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


def _describe(ref: HookImplementation) -> str:
    return describe_hook(ref.name, ref.plugin)


def _count_transactions(conn: psycopg.Connection[Any]) -> int:
    """Return how many transaction blocks are open; psycopg counts them but has no public attribute."""
    return int(getattr(conn, "_num_transactions", 0))
