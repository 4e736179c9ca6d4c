"""One phase of a plugin, run as a run does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from confiture.exceptions import UsageFault
from confiture.hooks.api import HookContext, HookPhase, HookResult

if TYPE_CHECKING:
    from psycopg import Connection

    from confiture.hooks.hook_runner import HookRunner
    from confiture.postgres.session import Session


def run_hook(
    plugin: Any,
    phase: HookPhase | str,
    *,
    conn: Connection[Any],
    context: HookContext | None = None,
    config: Mapping[str, Any] | None = None,
    name: str = "plugin",
    transactional: bool = True,
    resume: Any = None,
    **more: Any,
) -> list[HookResult]:
    """Run one phase of ``plugin`` as a run does, guard included, and return what its hooks report.

    On an idle connection the phase runs in a new transaction, which is committed, and then the
    ``on_commit`` callbacks are called; with ``context.dry_run`` it is rolled back and none is. On one
    already in a transaction its end is the test's: what ``context.set_local`` set can be looked at there.

    Args:
        plugin: The module or object that the entry point names.
        phase: Which phase.
        conn: A real connection.
        context: The hooks' context; by default a forward migration ``1 test``.
        config: The plugin's table of the configuration.
        name: The entry point's name.
        transactional: ``False`` as in a no-transaction migration: each yield of a generator commits.
        resume: With that, what the generator yielded last before the crash.
        more: For ``on_error`` the ``error``.

    Raises:
        HookError: A hook failed; what the phase did is undone, but for what a yield has committed.
        UsageFault: The connection is in a transaction, which no yield can commit.
        pluggy.PluginValidationError: It has a hook or an argument that there is not.
    """
    from confiture.hooks.hook_runner import HookRunner
    from confiture.hooks.plugin_manager import GuardedPluginManager
    from confiture.postgres.session import Session

    manager = GuardedPluginManager({name: config or {}})
    manager.register(plugin, name)
    manager.check_pending()
    session, wanted = Session.adopt(conn), HookPhase.of(phase)
    phases = HookRunner(manager, context or HookContext("test", "1"))
    if wanted is HookPhase.ON_ERROR:
        phases.context.error = more.setdefault("error", phases.context.error)
    if transactional or phases.context.dry_run:
        results = _run_in_transaction(phases, session, wanted, more)
    else:
        results = _run_in_batches(phases, session, wanted, more, resume)
    if not (phases.context.dry_run or session.nested):
        for callback in phases.context.callbacks:
            callback()
    return results


def _run_in_transaction(
    hook_runner: HookRunner, session: Session, phase: HookPhase, more: Mapping[str, Any]
) -> list[HookResult]:
    with session.transaction(keep=not hook_runner.context.dry_run):
        return hook_runner.run(session, phase, **more)


def _run_in_batches(
    hook_runner: HookRunner, session: Session, phase: HookPhase, more: Mapping[str, Any], resume: Any
) -> list[HookResult]:
    from confiture.hooks.checkpoints import CheckpointedTransaction

    if session.nested:
        raise UsageFault("transactional=False needs an idle connection", hint="commit first")
    with CheckpointedTransaction(
        session.transaction, lambda _: resume, lambda _ref, _stored: None
    ) as stretches:
        return hook_runner.run(session, phase, stretches, **more)
