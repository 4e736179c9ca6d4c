"""Run the hooks of one phase: plugins' and the migration's own, through one guarded path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import define, field
from psycopg import Connection

from confiture.hooks.api import Hook, HookContext, HookPhase, HookResult
from confiture.hooks.guard import Guard
from confiture.hooks.hook_observer import HookObserver, NoHookObserver
from confiture.hooks.implementation import Checkpoints, HookImplementation, run_callback
from confiture.hooks.plugin_manager import GuardedPluginManager
from confiture.models.migration import Migration
from confiture.models.report import HookReport
from confiture.postgres.locks import read_changed_relations
from confiture.postgres.session import Session

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
        manager: Where plugins, and for a while the migration's own hooks, are registered.
        context: What the hooks are told.
        reports: What each did.
        warnings: What their guards had to say.
        begun_hooks: Every hook that was begun.
        local_settings: Settings made with ``context.set_local``.
        changed_before: What the migration has changed in transactions that have ended.
        observer: Watches each hook of ``reports``, in a rehearsal.
    """

    manager: GuardedPluginManager
    context: HookContext
    reports: list[HookReport] = field(factory=list)
    warnings: list[str] = field(factory=list)
    begun_hooks: list[HookImplementation] = field(factory=list)
    local_settings: dict[str, str] = field(factory=dict)
    changed_before: set[str] = field(factory=set)
    observer: HookObserver = field(factory=NoHookObserver)

    def has_hooks(self, *phases: HookPhase) -> bool:
        """Whether any of these phases has a hook."""
        return any(self._list_implementations(phase) for phase in phases)

    def run(
        self, session: Session, phase: HookPhase, checkpoints: Checkpoints | None = None, **more: Any
    ) -> list[HookResult]:
        """Run the hooks of ``phase`` in the transaction that ``session`` is in; nothing where there are none.

        ``checkpoints`` ends that transaction and begins another at each yield of a generator hook.

        Raises:
            HookError: One failed.
        """
        implementations = self._list_implementations(phase)
        if not implementations:
            return []
        plain = sum(
            not (implementation.wrapper or implementation.hookwrapper) for implementation in implementations
        )
        guard = Guard(
            session,
            self.context,
            plain,
            lambda: self._list_changed(session),
            checkpoints,
            observer=self.observer,
        )
        self.manager.guard = guard
        try:
            results = getattr(self.manager.hook, phase.spec)(conn=session.conn, context=self.context, **more)
            if guard.fatal_error:
                raise guard.fatal_error
        finally:
            self.reports += guard.reports
            self.warnings += guard.warnings
            self.begun_hooks += guard.begun_hooks
            self.local_settings |= guard.local_settings
        # A wrapper may return whatever it likes in place of pluggy's list.
        each = results if isinstance(results, list) else [results]
        return [result for result in each if isinstance(result, HookResult)]

    def _list_changed(self, session: Session) -> tuple[str, ...]:
        return tuple(sorted({*self.changed_before, *read_changed_relations(session.conn)}))

    def _list_implementations(self, phase: HookPhase) -> list[Any]:
        return getattr(self.manager.hook, phase.spec).get_hookimpls()  # type: ignore[no-any-return]


@contextmanager
def register_own_hooks(manager: GuardedPluginManager, migration: Migration) -> Iterator[None]:
    """Register a migration's own hooks after the plugins', for as long as it runs.

    Raises:
        TypeError: A list holds something else than a ``Hook`` of its phase.
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
    """Register ``hooks`` so that they run in this order, after the plugins; take them away again."""
    names = [f"own hook {number}" for number, _ in enumerate(hooks)]
    try:
        for name, (phase, hook) in zip(names, hooks, strict=True):
            manager.register_hook(hook, phase, name)
        yield
    finally:
        for name in names:
            if manager.has_plugin(name):
                manager.unregister(name=name)


def check_hooks(hooks: Iterable[Any], phase: HookPhase, where: str) -> list[Hook]:
    """Return the hooks, having refused what is none, or is of another phase."""
    each = list(hooks)
    for hook in each:
        if not isinstance(hook, Hook):
            raise TypeError(f"{where}: {hook!r} is not an instance of Hook")
        if HookPhase.of(hook.phase) is not phase:
            raise TypeError(f"{where}: {type(hook).__name__} is a hook of {HookPhase.of(hook.phase).spec}")
    return each


class HookExecutor:
    """Runs hooks outside a migration, each in its savepoint."""

    def execute_phase(
        self, conn: Connection[Any], phase: HookPhase | str, hooks: Sequence[Hook], context: HookContext
    ) -> list[HookResult]:
        """Run ``hooks`` in order and return what they report.

        On an idle connection they have a transaction of their own, which is committed, and then their
        ``on_commit`` callbacks are called; on one that is in a transaction, its end is the caller's,
        and the callbacks are left in ``context.callbacks``.

        Raises:
            TypeError: One is not a hook of ``phase``; nothing has run.
            HookError: One failed; on an idle connection all of them are undone.
        """
        wanted = HookPhase.of(phase)
        each = check_hooks(hooks, wanted, f"hooks of {wanted.spec}")
        manager = GuardedPluginManager()
        session = Session.adopt(conn)
        phases = HookRunner(manager, context)
        more: dict[str, Any] = {"error": context.error} if wanted is HookPhase.ON_ERROR else {}
        with register_hooks(manager, [(wanted, hook) for hook in each]), session.transaction():
            results = phases.run(session, wanted, **more)
        if not (session.nested or context.dry_run):
            _run_callbacks(context)
        return results


def _run_callbacks(context: HookContext) -> None:
    callbacks, context.callbacks = context.callbacks, []
    for said in filter(None, map(run_callback, callbacks)):
        context.log.warning("callback.failed", error=said)
