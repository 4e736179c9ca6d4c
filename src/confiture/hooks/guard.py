"""The guard: what stands round every hook, and the checks after it.

A hook runs inside a savepoint of random name. What it left is looked at before anything is sent:
psycopg tells the transaction's status for nothing, and some states answer no query. Then one message
puts the settings back, releases the savepoint, closes cursors and begins the next savepoint, so that
n hooks cost n + 1 control round trips; a wrapper costs two of its own.
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

from confiture.exceptions import ConfitureError
from confiture.hooks.api import HookContext, HookError, HookResult, describe_hook
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


@define
class _HookCall:
    """A hook between its savepoint and its end; a commit between gives it a new savepoint."""

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

    @property
    def duration_ms(self) -> float:
        return (time.perf_counter() - self.began_s) * 1000


@define
class Guard:
    """Stands round the hooks of one phase, in one transaction.

    Attributes:
        session: The connection, and whose it is.
        context: What the hooks are told; lent to one at a time.
        plain_left: How many hooks that are no wrappers are still to come.
        list_changed: Returns what the migration has changed so far.
        reports: What each hook did, in the order in which they ended.
        begun_hooks: Every hook that was begun.
        warnings: Settings put back, failures passed over.
        checkpoints: Where a generator hook's ``yield`` commits; ``None`` in a transaction or a rehearsal.
        local_settings: Settings the hooks made with ``set_local``, to hold until the migration's end.
        fatal_error: The failure after which nothing may go on.
        observer: Watches each hook of ``reports``, in a rehearsal.
    """

    session: Session
    context: HookContext
    plain_left: int
    list_changed: Callable[[], tuple[str, ...]]
    checkpoints: Checkpoints | None = None
    reports: list[HookReport] = field(factory=list)
    begun_hooks: list[HookImplementation] = field(factory=list)
    warnings: list[str] = field(factory=list)
    local_settings: dict[str, str] = field(factory=dict)
    fatal_error: BaseException | None = None
    observer: HookObserver = field(factory=NoHookObserver)
    _wanted_settings: dict[str, str] = field(factory=dict)
    _cursors: frozenset[str] = frozenset()
    _next_savepoint: str | None = None
    _wrappers: list[_HookCall] = field(factory=list)

    # What a context asks for.

    def relations(self) -> tuple[str, ...]:
        """Return what the migration has changed so far."""
        self._refuse_open()
        return self.list_changed()

    def set_local(self, name: str, value: str) -> None:
        """Change a setting until the migration's end, and from now on keep it at that."""
        self._refuse_open()
        ((now,),) = fetch_rows(self.session.conn, render_set_local_sql(name, value))
        # In time for a hook inside a wrapper that asks for it; what an undone hook asked for is forgotten.
        spelled = {setting.lower(): setting for setting in GUARDED_SETTINGS}
        name = spelled.get(name.lower(), name)
        self.local_settings[name] = now
        if name in self._wanted_settings:
            self._wanted_settings[name] = now

    # One hook.

    def call(self, ref: HookImplementation, function: Callable[[], Any]) -> HookResult | None:
        """Run one hook in its savepoint.

        Raises:
            HookError: It failed, and its policy is to abort.
        """
        self.plain_left -= 1
        call = self._begin(ref)
        try:
            with self._lend_context(call):
                result = self._run_to_end(call, function())
            self._check(result)
            self._release(call)
        except KeyboardInterrupt:
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
            return (yield)  # those inside run without it
        inner, failed = yield from self._run_inner_hooks(call)
        if self.fatal_error:
            with contextlib.suppress(Exception):
                generator.close()
            raise self.fatal_error
        try:
            result = self._run_second_half(call, generator, inner, failed)
            self._check(None)
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
        """Let the hooks inside run; return what they gave, or how they failed."""
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

    # A generator hook.

    def _run_to_end(self, call: _HookCall, result: Any) -> Any:
        """Run a generator hook through; each of its yields commits, where there is what commits."""
        if not isgenerator(result):
            return result
        nesting = _count_transactions(self.session.conn)
        with contextlib.closing(result):
            while True:
                try:
                    progress = next(result)
                except StopIteration as end:
                    return end.value
                if _count_transactions(self.session.conn) != nesting:
                    raise HookMisuse("it yielded inside its own `with conn.transaction():`")
                if self.checkpoints:
                    self._commit(self.checkpoints, call, progress)

    def _commit(self, checkpoints: Checkpoints, call: _HookCall, progress: Any) -> None:
        self._check(None)
        stored = checkpoints.encode_progress(progress)
        self._release(call, last=True)
        try:
            checkpoints.commit(call.ref, stored)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.fatal_error = self._build_commit_failure(call.ref, error)
            raise
        call.commit_count += 1
        call.restore_context = self.context.save_state()
        self._begin_again((*self._wrappers, call))

    def _build_commit_failure(self, ref: HookImplementation, error: BaseException) -> BaseException:
        """Return the failure of a commit: no transaction is left for another hook to run in."""
        if isinstance(error, ConfitureError):
            return error  # the lock is lost: no fault of the hook's
        return HookFatal(ref, error, may_be_committed=self.session.lost)

    def _begin_again(self, calls: Iterable[_HookCall]) -> None:
        """Give each a new savepoint, and the settings made with ``set_local`` the new transaction."""
        message = [render_set_local_sql(name, value) for name, value in self.local_settings.items()]
        for call in calls:
            call.reports_before, call.savepoint = len(self.reports), _make_savepoint_name()
            call.wanted_settings, call.local_settings = dict(self._wanted_settings), dict(self.local_settings)
            message.append(f"SAVEPOINT {call.savepoint}")
        send(self.session.conn, "; ".join(message))

    # Its savepoint.

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
            since_ms=self.observer.now_ms(),
        )

    def _open_savepoint(self) -> str:
        ready, self._next_savepoint = self._next_savepoint, None
        if ready:
            return ready
        name = _make_savepoint_name()
        if self._wanted_settings:
            changed = send(self.session.conn, f"{self._render_restore_sql()} SAVEPOINT {name}")
            self._warn(self._wrappers[-1].ref, changed[0][0] + changed[1][0])
        else:
            settings, cursors = send(self.session.conn, f"{SETTINGS_SQL} SAVEPOINT {name}")
            self._wanted_settings = dict(zip(GUARDED_SETTINGS, settings[0], strict=True))
            self._cursors = frozenset(cursor for (cursor,) in cursors)
        return name

    def _render_restore_sql(self) -> str:
        return render_restore_sql(self._wanted_settings, self.session.get_caller_settings())

    def _check(self, result: Any) -> None:
        """Refuse what a hook left behind, before anything is sent."""
        status = self.session.conn.info.transaction_status
        self._refuse_open()
        if not isinstance(result, HookResult | None):
            raise HookMisuse(f"it returned {type(result).__name__}, not a HookResult or None")
        if status == TransactionStatus.INERROR:
            raise HookMisuse(
                "it caught an SQL error without undoing it: put `with conn.transaction():` round it"
            )
        if status == TransactionStatus.UNKNOWN:
            raise HookMisuse("it closed or lost the connection")
        if status == TransactionStatus.IDLE:
            raise HookMisuse(_ENDED_TRANSACTION)

    def _refuse_open(self) -> None:
        if has_open_copy(self.session.conn):
            raise HookMisuse("it left a COPY or a result open")

    def _release(self, call: _HookCall, *, last: bool = False) -> None:
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
        """Name the savepoint of the next hook, where one comes without a wrapper's half between."""
        return _make_savepoint_name() if self.plain_left > 0 else None

    def _keep(self, call: _HookCall, result: HookResult | None) -> None:
        self.reports.append(self._make_report(call, result))
        self.observer.end_hook(call.since_ms)

    def _make_report(self, call: _HookCall, result: HookResult | None) -> HookReport:
        return HookReport(
            phase=call.ref.phase.spec,
            plugin=call.ref.plugin,
            hook=result.hook_name if result else call.ref.name,
            outcome="kept",
            duration_ms=call.duration_ms,
            rows_affected=result.rows_affected if result else 0,
            stats={**call.stats, **((result.stats if result else None) or {})},
        )

    def _warn(self, ref: HookImplementation, changed: tuple[str | None, ...]) -> None:
        for name, value in zip(GUARDED_SETTINGS, changed, strict=True):
            warning = (
                f"{_describe(ref)} changed {name} to {value!r}; put back to {self._wanted_settings[name]!r} "
                "(context.set_local keeps a setting until the migration's end)"
            )
            # A generator hook does it again at each of its yields; once is enough to know.
            if value is not None and warning not in self.warnings:
                self.warnings.append(warning)

    # Its failure.

    def _undo(self, call: _HookCall, error: BaseException, inner: BaseException | None = None) -> None:
        """Roll back to the hook's savepoint, and go on or raise as its policy says.

        ``inner`` is the failure of a hook inside a wrapper: where the wrapper passes it on, or is
        itself passed over, that hook is to be named and its policy holds.
        """
        self._wanted_settings, self.local_settings = call.wanted_settings, call.local_settings
        call.restore_context()
        call.stats.clear()
        self.reports[call.reports_before :] = [
            *(evolve(report, outcome="undone") for report in self.reports[call.reports_before :]),
            evolve(self._make_report(call, None), outcome="undone"),
        ]
        if call.commit_count:
            self.warnings.append(
                f"{_describe(call.ref)} had committed {call.commit_count} times; that is kept"
            )
        if self.fatal_error:
            raise self.fatal_error
        self._roll_back(call, error)
        self.observer.end_hook(call.since_ms)
        if isinstance(error, psycopg.Rollback):
            return
        if error is inner:
            raise error
        if not call.ref.continues_on_failure:
            raise HookError(call.ref.name, call.ref.phase, error, plugin=call.ref.plugin) from error
        self.warnings.append(f"{_describe(call.ref)} failed and was undone: {error}")
        if inner is not None:
            raise inner

    def _roll_back(self, call: _HookCall, error: BaseException) -> None:
        conn = self.session.conn
        end_copy(conn)
        status = conn.info.transaction_status
        if status == TransactionStatus.UNKNOWN:
            lost = error if isinstance(error, HookMisuse) else HookMisuse(f"the connection was lost: {error}")
            self._stop(call.ref, lost, error, committed=False)
        if status == TransactionStatus.IDLE:
            self._stop(call.ref, HookMisuse(_ENDED_TRANSACTION), error)
        following = self._name_next_savepoint()
        # What it has locked until now is gone once it is undone.
        look = self.observer.snapshot_sql
        before = look if status == TransactionStatus.INTRANS else ""
        undo = f"ROLLBACK TO {call.savepoint}; RELEASE {call.savepoint}"
        try:
            results = send(conn, f"{before} {undo}; {look} {_render_savepoint(following)}")
            self.observer.take_snapshots(results, 2 if before else 1)
        except psycopg.Error as gone:
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


_ENDED_TRANSACTION = "it ended the transaction (a COMMIT or ROLLBACK of its own)"


def _render_savepoint(following: str | None) -> str:
    return f"SAVEPOINT {following}" if following else ""


def _make_savepoint_name() -> str:
    return f"confiture_{secrets.token_hex(8)}"


def _describe(ref: HookImplementation) -> str:
    return describe_hook(ref.name, ref.plugin)


def _count_transactions(conn: psycopg.Connection[Any]) -> int:
    """Return how many transaction blocks are open; psycopg counts them and does not say."""
    return int(getattr(conn, "_num_transactions", 0))
