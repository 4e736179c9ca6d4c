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
from confiture.hooks.api import HookContext, HookError, HookResult, who
from confiture.hooks.guarded_settings import CURSORS, GUARDED, LOOK, put_back_sql, set_locally
from confiture.hooks.hook_observer import HookObserver, NoHookObserver
from confiture.hooks.implementation import Commits, HookFatal, HookRef, Misuse
from confiture.models.report import HookReport
from confiture.postgres.session import Session, end_copy, left_open, rows, send
from confiture.sql.quote import quote_ident


@define
class _Call:
    """A hook between its savepoint and its end; a commit between gives it a new savepoint."""

    ref: HookRef
    savepoint: str
    before: int
    noted: dict[str, Any]
    put_back: Callable[[], None]
    wanted: dict[str, str]
    locals: dict[str, str]
    began: float
    since_ms: float = 0.0
    commits: int = 0

    @property
    def duration_ms(self) -> float:
        return (time.perf_counter() - self.began) * 1000


@define
class Guard:
    """Stands round the hooks of one phase, in one transaction.

    Attributes:
        session: The connection, and whose it is.
        context: What the hooks are told; lent to one at a time.
        plain: How many hooks that are no wrappers are still to come.
        changed: Returns what the migration has changed so far.
        reports: What each hook did, in the order in which they ended.
        ran: Every hook that was begun.
        warnings: Settings put back, failures passed over.
        commits: Where a generator hook's ``yield`` commits; ``None`` in a transaction or a rehearsal.
        locals: Settings the hooks made with ``set_local``, to hold until the migration's end.
        fatal: The failure after which nothing may go on.
        observer: Watches each hook of ``reports``, in a rehearsal.
    """

    session: Session
    context: HookContext
    plain: int
    changed: Callable[[], tuple[str, ...]]
    commits: Commits | None = None
    reports: list[HookReport] = field(factory=list)
    ran: list[HookRef] = field(factory=list)
    warnings: list[str] = field(factory=list)
    locals: dict[str, str] = field(factory=dict)
    fatal: BaseException | None = None
    observer: HookObserver = field(factory=NoHookObserver)
    _wanted: dict[str, str] = field(factory=dict)
    _cursors: frozenset[str] = frozenset()
    _ready: str | None = None
    _wrappers: list[_Call] = field(factory=list)

    # What a context asks for.

    def relations(self) -> tuple[str, ...]:
        """Return what the migration has changed so far."""
        self._refuse_open()
        return self.changed()

    def set_local(self, name: str, value: str) -> None:
        """Change a setting until the migration's end, and from now on keep it at that."""
        self._refuse_open()
        ((now,),) = rows(self.session.conn, set_locally(name, value))
        # In time for a hook inside a wrapper that asks for it; what an undone hook asked for is forgotten.
        spelled = {each.lower(): each for each in GUARDED}
        name = spelled.get(name.lower(), name)
        self.locals[name] = now
        if name in self._wanted:
            self._wanted[name] = now

    # One hook.

    def call(self, ref: HookRef, function: Callable[[], Any]) -> HookResult | None:
        """Run one hook in its savepoint.

        Raises:
            HookError: It failed, and its policy is to abort.
        """
        self.plain -= 1
        call = self._begin(ref)
        try:
            with self._lent(call):
                result = self._finished(call, function())
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

    def wrap(self, ref: HookRef, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run a pluggy wrapper: its savepoint encloses those of the hooks inside it."""
        call = self._begin(ref)
        try:
            self._first_half(call, generator)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._undo(call, error)
            return (yield)  # those inside run without it
        inner, failed = yield from self._inside(call)
        if self.fatal:
            with contextlib.suppress(Exception):
                generator.close()
            raise self.fatal
        try:
            result = self._second_half(call, generator, inner, failed)
            self._check(None)
            self._release(call)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._undo(call, error, failed)
            return []
        self._keep(call, result if isinstance(result, HookResult) else None)
        return result

    def _first_half(self, call: _Call, generator: Generator[Any, Any, Any]) -> None:
        with self._lent(call):
            try:
                next(generator)
            except StopIteration:
                raise Misuse("a wrapper yields once; this one did not yield") from None
        self._check(None)

    def _inside(self, call: _Call) -> Generator[Any, Any, tuple[Any, BaseException | None]]:
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

    def _second_half(
        self, call: _Call, generator: Generator[Any, Any, Any], inner: Any, failed: BaseException | None
    ) -> Any:
        with self._lent(call):
            try:
                generator.throw(failed) if failed else generator.send(inner)
            except StopIteration as end:
                return end.value
        raise Misuse("a wrapper yields once; this one yielded twice")

    def _lent(self, call: _Call) -> Any:
        ref = call.ref
        resume = self.commits.resume(ref) if self.commits else None
        return self.context.running(self, ref.phase, ref.plugin or ref.name, ref.config, call.noted, resume)

    # A generator hook.

    def _finished(self, call: _Call, result: Any) -> Any:
        """Run a generator hook through; each of its yields commits, where there is what commits."""
        if not isgenerator(result):
            return result
        nesting = _nesting(self.session.conn)
        with contextlib.closing(result):
            while True:
                try:
                    progress = next(result)
                except StopIteration as end:
                    return end.value
                if _nesting(self.session.conn) != nesting:
                    raise Misuse("it yielded inside its own `with conn.transaction():`")
                if self.commits:
                    self._commit(self.commits, call, progress)

    def _commit(self, commits: Commits, call: _Call, progress: Any) -> None:
        self._check(None)
        stored = commits.stored(progress)
        self._release(call, last=True)
        try:
            commits.commit(call.ref, stored)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.fatal = self._not_committed(call.ref, error)
            raise
        call.commits += 1
        call.put_back = self.context.saved()
        self._begin_again((*self._wrappers, call))

    def _not_committed(self, ref: HookRef, error: BaseException) -> BaseException:
        """Return the failure of a commit: no transaction is left for another hook to run in."""
        if isinstance(error, ConfitureError):
            return error  # the lock is lost: no fault of the hook's
        return HookFatal(ref, error, may_be_committed=self.session.lost)

    def _begin_again(self, calls: Iterable[_Call]) -> None:
        """Give each a new savepoint, and the settings made with ``set_local`` the new transaction."""
        message = [set_locally(name, value) for name, value in self.locals.items()]
        for call in calls:
            call.before, call.savepoint = len(self.reports), _random_name()
            call.wanted, call.locals = dict(self._wanted), dict(self.locals)
            message.append(f"SAVEPOINT {call.savepoint}")
        send(self.session.conn, "; ".join(message))

    # Its savepoint.

    def _begin(self, ref: HookRef) -> _Call:
        if self.fatal:
            raise self.fatal
        self.ran.append(ref)
        return _Call(
            ref=ref,
            savepoint=self._open(),
            before=len(self.reports),
            noted={},
            put_back=self.context.saved(),
            wanted=dict(self._wanted),
            locals=dict(self.locals),
            began=time.perf_counter(),
            since_ms=self.observer.now_ms(),
        )

    def _open(self) -> str:
        ready, self._ready = self._ready, None
        if ready:
            return ready
        name = _random_name()
        if self._wanted:
            changed = send(self.session.conn, f"{self._put_back_sql()} SAVEPOINT {name}")
            self._warn(self._wrappers[-1].ref, changed[0][0] + changed[1][0])
        else:
            settings, cursors = send(self.session.conn, f"{LOOK} SAVEPOINT {name}")
            self._wanted = dict(zip(GUARDED, settings[0], strict=True))
            self._cursors = frozenset(cursor for (cursor,) in cursors)
        return name

    def _put_back_sql(self) -> str:
        return put_back_sql(self._wanted, self.session.callers_settings())

    def _check(self, result: Any) -> None:
        """Refuse what a hook left behind, before anything is sent."""
        status = self.session.conn.info.transaction_status
        self._refuse_open()
        if not isinstance(result, HookResult | None):
            raise Misuse(f"it returned {type(result).__name__}, not a HookResult or None")
        if status == TransactionStatus.INERROR:
            raise Misuse("it caught an SQL error without undoing it: put `with conn.transaction():` round it")
        if status == TransactionStatus.UNKNOWN:
            raise Misuse("it closed or lost the connection")
        if status == TransactionStatus.IDLE:
            raise Misuse(_ENDED)

    def _refuse_open(self) -> None:
        if left_open(self.session.conn):
            raise Misuse("it left a COPY or a result open")

    def _release(self, call: _Call, *, last: bool = False) -> None:
        close = "CLOSE ALL;" if self.session.ours else f"{CURSORS};"
        following = None if last else self._following()
        snapshot = self.observer.snapshot_sql
        results = send(
            self.session.conn,
            f"{self._put_back_sql()} {close} RELEASE {call.savepoint}; {snapshot} {_then(following)}",
        )
        self._ready = following
        results = self.observer.take_snapshots(results)
        self._warn(call.ref, results[0][0] + results[1][0])
        left = [cursor for answer in results[2:] for (cursor,) in answer if cursor not in self._cursors]
        if left:
            send(self.session.conn, "; ".join(f"CLOSE {quote_ident(cursor)}" for cursor in left))

    def _following(self) -> str | None:
        """Name the savepoint of the next hook, where one comes without a wrapper's half between."""
        return _random_name() if self.plain > 0 else None

    def _keep(self, call: _Call, result: HookResult | None) -> None:
        self.reports.append(self._report(call, result))
        self.observer.end_hook(call.since_ms)

    def _report(self, call: _Call, result: HookResult | None) -> HookReport:
        return HookReport(
            phase=call.ref.phase.spec,
            plugin=call.ref.plugin,
            hook=result.hook_name if result else call.ref.name,
            outcome="kept",
            duration_ms=call.duration_ms,
            rows_affected=result.rows_affected if result else 0,
            stats={**call.noted, **((result.stats if result else None) or {})},
        )

    def _warn(self, ref: HookRef, changed: tuple[str | None, ...]) -> None:
        for name, value in zip(GUARDED, changed, strict=True):
            warning = (
                f"{_who(ref)} changed {name} to {value!r}; put back to {self._wanted[name]!r} "
                "(context.set_local keeps a setting until the migration's end)"
            )
            # A generator hook does it again at each of its yields; once is enough to know.
            if value is not None and warning not in self.warnings:
                self.warnings.append(warning)

    # Its failure.

    def _undo(self, call: _Call, error: BaseException, inner: BaseException | None = None) -> None:
        """Roll back to the hook's savepoint, and go on or raise as its policy says.

        ``inner`` is the failure of a hook inside a wrapper: where the wrapper passes it on, or is
        itself passed over, that hook is to be named and its policy holds.
        """
        self._wanted, self.locals = call.wanted, call.locals
        call.put_back()
        call.noted.clear()
        self.reports[call.before :] = [
            *(evolve(report, outcome="undone") for report in self.reports[call.before :]),
            evolve(self._report(call, None), outcome="undone"),
        ]
        if call.commits:
            self.warnings.append(f"{_who(call.ref)} had committed {call.commits} times; that is kept")
        if self.fatal:
            raise self.fatal
        self._roll_back(call, error)
        self.observer.end_hook(call.since_ms)
        if isinstance(error, psycopg.Rollback):
            return
        if error is inner:
            raise error
        if not call.ref.goes_on:
            raise HookError(call.ref.name, call.ref.phase, error, plugin=call.ref.plugin) from error
        self.warnings.append(f"{_who(call.ref)} failed and was undone: {error}")
        if inner is not None:
            raise inner

    def _roll_back(self, call: _Call, error: BaseException) -> None:
        conn = self.session.conn
        end_copy(conn)
        status = conn.info.transaction_status
        if status == TransactionStatus.UNKNOWN:
            lost = error if isinstance(error, Misuse) else Misuse(f"the connection was lost: {error}")
            self._stop(call.ref, lost, error, committed=False)
        if status == TransactionStatus.IDLE:
            self._stop(call.ref, Misuse(_ENDED), error)
        following = self._following()
        # What it has locked until now is gone once it is undone.
        look = self.observer.snapshot_sql
        before = look if status == TransactionStatus.INTRANS else ""
        undo = f"ROLLBACK TO {call.savepoint}; RELEASE {call.savepoint}"
        try:
            results = send(conn, f"{before} {undo}; {look} {_then(following)}")
            self.observer.take_snapshots(results, 2 if before else 1)
        except psycopg.Error as gone:
            if gone.sqlstate is None:
                self._stop(call.ref, Misuse(f"the connection was lost: {gone}"), gone, committed=False)
            self._stop(call.ref, Misuse(_ENDED), gone)
        self._ready = following

    def _stop(self, ref: HookRef, misuse: Misuse, cause: BaseException, *, committed: bool = True) -> None:
        if misuse is not cause:
            misuse.__cause__ = cause
        self.fatal = HookFatal(ref, misuse, may_be_committed=committed)
        raise self.fatal


_ENDED = "it ended the transaction (a COMMIT or ROLLBACK of its own)"


def _then(following: str | None) -> str:
    return f"SAVEPOINT {following}" if following else ""


def _random_name() -> str:
    return f"confiture_{secrets.token_hex(8)}"


def _who(ref: HookRef) -> str:
    return who(ref.name, ref.plugin)


def _nesting(conn: psycopg.Connection[Any]) -> int:
    """Return how many transaction blocks are open; psycopg counts them and does not say."""
    return int(getattr(conn, "_num_transactions", 0))
