"""The hook: fill the read models of a migration, and report them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from confiture import HookContext, HookResult, hookimpl
from confiture.plugins.kit import PluginSettingsFault
from confiture_backfill.backfill_file import read_backfill_file
from confiture_backfill.fill import FillResult, fill
from confiture_backfill.read_model import ReadModel
from confiture_backfill.resume import fill_models
from confiture_backfill.settings import CONFIG_KEYS, read_settings

if TYPE_CHECKING:
    from collections.abc import Generator

    from psycopg import Connection


@frozen
class BackfillReadModel:
    """Fills the read models of a migration.

    Attributes:
        config_keys: What its table of settings may hold.
    """

    config_keys: ClassVar[dict[str, str]] = CONFIG_KEYS

    @hookimpl
    def after_ddl(
        self, conn: Connection[Any], context: HookContext
    ) -> HookResult | Generator[Any, None, HookResult] | None:
        """Fill the read models of this migration; does nothing when it goes backward."""
        if context.direction != "forward":
            return None
        models = find_models(context)
        if any(model.batch for model in models):
            return _fill_in_batches(conn, context, models)
        return _make_result([fill(conn, model) for model in models]) if models else None


def _fill_in_batches(
    conn: Connection[Any], context: HookContext, models: tuple[ReadModel, ...]
) -> Generator[Any, None, HookResult]:
    return _make_result((yield from fill_models(conn, models, context.resume, context.log)))


def find_models(context: HookContext) -> tuple[ReadModel, ...]:
    """Return the read models of this migration: those of the settings, then that of its file.

    Raises:
        PluginSettingsFault: One cannot be used, or two fill the same table.
    """
    version, name = context.migration_version, context.migration_name
    models = read_settings(context.config).select_models(version, name)
    file_model = read_backfill_file(context.folder, version, name)
    if file_model is None:
        return models
    if any(model.table == file_model.table for model in models):
        raise PluginSettingsFault(
            f"{file_model.table} is filled by the settings and by {file_model.place}",
            hint="keep one of them",
        )
    return (*models, file_model)


def _make_result(results: list[FillResult]) -> HookResult:
    stats = [result.stats for result in results]
    return HookResult(
        phase="AFTER_DDL",
        hook_name="BackfillReadModel",
        rows_affected=sum(result.rows for result in results),
        stats=stats[0] if len(stats) == 1 else {"models": stats},
    )
