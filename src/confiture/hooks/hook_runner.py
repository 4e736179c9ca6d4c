"""Run the hooks of one phase, the plugins' and the migration's own, each inside the guard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import define, evolve, field
from psycopg import Connection

from confiture.hooks.api import HookPhase, HookResult, check_stats
from confiture.hooks.guard import Guard
from confiture.hooks.hook_class import Hook
from confiture.hooks.hook_context import HookContext
from confiture.hooks.hook_observer import HookObserver, NoHookObserver
from confiture.hooks.implementation import Checkpoints, HookImplementation, run_callback
from confiture.hooks.plugin_manager import GuardedPluginManager
from confiture.hooks.savepoints import HookSavepoints
from confiture.models.migration import Migration
from confiture.models.report import HookReport
from confiture.postgres.locks import read_changed_relations
from confiture.postgres.server_messages import ServerMessages
from confiture.postgres.session import Session
from confiture.sql.quote import quote_ident

OWN_HOOK_LISTS = {
    HookPhase.BEFORE_VALIDATION: "before_validation_hooks",
    HookPhase.BEFORE_DDL: "before_ddl_hooks",
    HookPhase.AFTER_DDL: "after_ddl_hooks",
    HookPhase.AFTER_VALIDATION: "after_validation_hooks",
    HookPhase.CLEANUP: "cleanup_hooks",
    HookPhase.ON_ERROR: "error_hooks",
}


@define
class HookRunner:
    """The hooks of one migration, and what they have done so far.

    Attributes:
        manager: Holds the plugins and, while the migration runs, its own hooks.
        context: The context that every hook gets.
        reports: One report per hook, in the order in which they ended.
        warnings: Warnings of the guards: settings restored, failures that were continued past.
        begun_hooks: Every hook that has begun, also those that failed.
        local_settings: Settings made with ``context.set_local``.
        changed_before: Relations that the migration changed in transactions that have ended.
        observer: Observes each hook of ``reports`` in a rehearsal.
        list_statements: Returns the SQL that the migration has run so far.
        own_schema: The ledger's schema: a rehearsal creates it in the migration's transaction, and it is no
            change of the migration's.
    """

    manager: GuardedPluginManager
    context: HookContext
    reports: list[HookReport] = field(factory=list)
    warnings: list[str] = field(factory=list)
    begun_hooks: list[HookImplementation] = field(factory=list)
    local_settings: dict[str, str] = field(factory=dict)
    changed_before: set[str] = field(factory=set)
    observer: HookObserver = field(factory=NoHookObserver)
    own_schema: str | None = None
    list_statements: Callable[[], tuple[str, ...]] = tuple
    _messages: ServerMessages | None = None
    _guard: Guard | None = None

    @property
    def last_message(self) -> str | None:
        """What the server has said last in the phase that runs, else how often a hook has committed."""
        said = self._messages.last if self._messages else None
        return said or (self._guard.progress if self._guard else None)

    def has_hooks(self, *phases: HookPhase) -> bool:
        """Return True if any of these phases has a hook."""
        return any(self._list_implementations(phase) for phase in phases)

    def run(
        self, session: Session, phase: HookPhase, checkpoints: Checkpoints | None = None, **more: Any
    ) -> list[HookResult]:
        """Run the hooks of ``phase`` in the session's open transaction; send nothing if there are none.

        ``checkpoints`` commits that transaction and begins another at each yield of a generator hook.

        Raises:
            HookError: A hook failed.
        """
        implementations = self._list_implementations(phase)
        if not implementations:
            return []
        # The guard opens the next hook's savepoint in the message that ends the last one. It must know
        # how many hooks follow, or it would leave one savepoint too many.
        plain = sum(
            not (implementation.wrapper or implementation.hookwrapper) for implementation in implementations
        )
        guard = Guard(
            HookSavepoints(session, plain, self.observer),
            self.context,
            lambda: self._list_changed(session),
            self.list_statements,
            checkpoints,
        )
        self.manager.guard = self._guard = guard
        self._messages = messages = ServerMessages(session.conn)
        try:
            with messages.listen():
                results = getattr(self.manager.hook, phase.spec)(
                    conn=session.conn, context=self.context, **more
                )
            if guard.fatal_error:
                # A plugin's wrapper may have caught it; it stops the migration all the same.
                raise guard.fatal_error
        finally:
            # Also after a failure: the report shows what ran, and a retry asks which hooks had begun.
            self._take_over(guard, phase, messages)
        # pluggy gives a list, but a wrapper may return anything in its place.
        returned = results if isinstance(results, list) else [results]
        return [result for result in returned if isinstance(result, HookResult)]

    def _take_over(self, guard: Guard, phase: HookPhase, messages: ServerMessages) -> None:
        self.reports += guard.reports
        self.warnings += guard.warnings
        self.warnings += (
            f"the server warned in {phase.spec}: {message.message}"
            for message in messages.take()
            if message.is_warning
        )
        self.begun_hooks += guard.begun_hooks
        self.local_settings |= guard.savepoints.local_settings

    def _list_changed(self, session: Session) -> tuple[str, ...]:
        changed = {*self.changed_before, *read_changed_relations(session.conn)}
        own = f"{quote_ident(self.own_schema)}." if self.own_schema else None
        return tuple(sorted(name for name in changed if own is None or not name.startswith(own)))

    def refresh_stats(self) -> None:
        """Read again what the hooks have handed over: an ``on_commit`` callback may have completed it."""
        self.reports[:] = map(_refresh_stats, self.reports)

    def _list_implementations(self, phase: HookPhase) -> list[Any]:
        return getattr(self.manager.hook, phase.spec).get_hookimpls()  # type: ignore[no-any-return]


@contextmanager
def register_own_hooks(manager: GuardedPluginManager, migration: Migration) -> Iterator[None]:
    """Register a migration's own hooks after the plugins' while the block runs.

    Raises:
        TypeError: A list holds something other than a ``Hook`` of its phase.
    """
    hooks = [
        (phase, hook)
        for phase, attribute in OWN_HOOK_LISTS.items()
        for hook in check_hooks(getattr(migration, attribute), phase, attribute)
    ]
    with register_hooks(manager, hooks):
        yield


@contextmanager
def register_hooks(manager: GuardedPluginManager, hooks: Sequence[tuple[HookPhase, Hook]]) -> Iterator[None]:
    """Register ``hooks`` to run in this order, after the plugins; unregister them afterwards."""
    names = [f"own hook {number}" for number, _ in enumerate(hooks)]
    try:
        for name, (phase, hook) in zip(names, hooks, strict=True):
            manager.register_hook(hook, phase, name)
        yield
    finally:
        for name in names:
            # A registration that failed has left the later ones unregistered.
            if manager.has_plugin(name):
                manager.unregister(name=name)


def check_hooks(hooks: Iterable[Any], phase: HookPhase, where: str) -> list[Hook]:
    """Return the hooks as a list; refuse what is not a hook of ``phase``.

    Raises:
        TypeError: An element is not a ``Hook``, or belongs to another phase.
    """
    if not isinstance(hooks, Iterable):
        raise TypeError(f"{where}: {hooks!r} is not a list of hooks")
    checked = list(hooks)
    for hook in checked:
        if not isinstance(hook, Hook):
            raise TypeError(f"{where}: {hook!r} is not an instance of Hook")
        if HookPhase.of(hook.phase) is not phase:
            raise TypeError(f"{where}: {type(hook).__name__} is a hook of {HookPhase.of(hook.phase).spec}")
    return checked


class HookExecutor:
    """Runs hooks outside a migration, each inside the guard."""

    def execute_phase(
        self, conn: Connection[Any], phase: HookPhase | str, hooks: Sequence[Hook], context: HookContext
    ) -> list[HookResult]:
        """Run ``hooks`` in order and return their results.

        On an idle connection this opens a transaction, commits it and then calls the hooks'
        ``on_commit`` callbacks. On a connection that is in a transaction, the caller ends the
        transaction, and the callbacks stay in ``context.callbacks``.

        Raises:
            TypeError: A hook is not one of ``phase``; nothing has run.
            HookError: A hook failed; on an idle connection all hooks are rolled back.
        """
        wanted = HookPhase.of(phase)
        checked = check_hooks(hooks, wanted, f"hooks of {wanted.spec}")
        manager = GuardedPluginManager()
        session = Session.adopt(conn)
        runner = HookRunner(manager, context)
        more: dict[str, Any] = {"error": context.error} if wanted is HookPhase.ON_ERROR else {}
        with register_hooks(manager, [(wanted, hook) for hook in checked]), session.transaction():
            results = runner.run(session, wanted, **more)
        if not (session.nested or context.dry_run):
            _run_callbacks(context)
        return results


def _refresh_stats(report: HookReport) -> HookReport:
    if not report.handed_over:
        return report
    try:
        return evolve(report, stats=check_stats(report.handed_over))
    except TypeError:
        # The hook's stats could be shown when it ended, and what it made of them since cannot.
        return report


def _run_callbacks(context: HookContext) -> None:
    callbacks, context.callbacks = context.callbacks, []
    for warning in filter(None, map(run_callback, callbacks)):
        context.log.warning("callback.failed", error=warning)
