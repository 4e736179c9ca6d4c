"""Run one phase of a plugin, as a run does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from confiture.exceptions import UsageFault
from confiture.hooks.api import HookPhase, HookResult
from confiture.hooks.hook_context import HookContext

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
    ``on_commit`` callbacks are called; with ``context.dry_run`` it is rolled back and none is called. On a
    connection that is in a transaction, the test ends it, and can read before what ``context.set_local`` set.

    Args:
        plugin: The module or object that the entry point names.
        phase: The phase, or its name.
        conn: A real connection.
        context: The hooks' context; by default a forward migration ``1 test``.
        config: The plugin's table of the configuration.
        name: The entry point's name.
        transactional: ``False`` as in a no-transaction migration: each yield of a generator commits.
        resume: What a generator hook yielded last before a crash; needs ``transactional=False``.
        more: For ``on_error``, the ``error``.

    Raises:
        HookError: A hook failed; the phase is rolled back, except for what a yield has committed.
        UsageFault: The connection is in a transaction, which no yield can commit.
        pluggy.PluginValidationError: It has an unknown hook or argument.
    """
    from confiture.hooks.hook_runner import HookRunner
    from confiture.hooks.plugin_manager import GuardedPluginManager
    from confiture.postgres.session import Session

    manager = GuardedPluginManager({name: config or {}})
    manager.register(plugin, name)
    manager.check_pending()
    session, wanted = Session.adopt(conn), HookPhase.of(phase)
    runner = HookRunner(manager, context or HookContext("test", "1"))
    if wanted is HookPhase.ON_ERROR:
        runner.context.error = more.setdefault("error", runner.context.error)
    if transactional or runner.context.dry_run:
        results = _run_in_transaction(runner, session, wanted, more)
    else:
        results = _run_in_batches(runner, session, wanted, more, resume)
    if not (runner.context.dry_run or session.nested):
        for callback in runner.context.callbacks:
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
    ) as checkpoints:
        return hook_runner.run(session, phase, checkpoints, **more)
