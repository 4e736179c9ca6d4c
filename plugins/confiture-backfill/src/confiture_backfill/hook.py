"""The hook: which read models a migration needs, and what is reported of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from confiture import HookContext, HookResult, hookimpl
from confiture_backfill.beside import beside
from confiture_backfill.configured import CONFIG_KEYS, configured
from confiture_backfill.faults import Misconfigured
from confiture_backfill.filling import Filled, fill
from confiture_backfill.model import ReadModel
from confiture_backfill.resuming import fill_each

if TYPE_CHECKING:
    from collections.abc import Generator

    from psycopg import Connection


@frozen
class BackfillReadModel:
    """Fills the read models that a migration needs.

    Attributes:
        config_keys: What its table of the configuration may hold.
    """

    config_keys: ClassVar[dict[str, str]] = CONFIG_KEYS

    @hookimpl
    def after_ddl(
        self, conn: Connection[Any], context: HookContext
    ) -> HookResult | Generator[Any, None, HookResult] | None:
        """Fill what this migration needs; going backward, or where nothing is configured, do nothing."""
        if context.direction != "forward":
            return None
        models = needed(context)
        if any(model.batch for model in models):
            return _in_batches(conn, context, models)
        return _result([fill(conn, model) for model in models]) if models else None


def _in_batches(
    conn: Connection[Any], context: HookContext, models: tuple[ReadModel, ...]
) -> Generator[Any, None, HookResult]:
    return _result((yield from fill_each(conn, models, context.resume, context.log)))


def needed(context: HookContext) -> tuple[ReadModel, ...]:
    """Return the read models of this migration: the configured ones, then that of the file beside it.

    Raises:
        Misconfigured: One is not usable, or a table is to be filled twice.
    """
    version, name = context.migration_version, context.migration_name
    models = [each.model for each in configured(context.config) if each.is_for(version, name)]
    if (file := beside(context.folder, version, name)) is not None:
        if any(model.table == file.table for model in models):
            raise Misconfigured(
                f"{file.table} is filled by the configuration and by {file.source}",
                hint="keep one of them",
            )
        models.append(file)
    return tuple(models)


def _result(filled: list[Filled]) -> HookResult:
    stats = [each.stats for each in filled]
    return HookResult(
        phase="AFTER_DDL",
        hook_name="BackfillReadModel",
        rows_affected=sum(each.rows for each in filled),
        stats=stats[0] if len(stats) == 1 else {"models": stats},
    )
