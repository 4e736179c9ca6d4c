"""The hook: fills the read models that a migration needs, and reports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from confiture import HookContext, HookResult, hookimpl
from confiture.plugins.kit import PluginSettingsFault
from confiture_backfill.backfill_file import read_backfill_file
from confiture_backfill.fill import FilledModel, fill_model
from confiture_backfill.read_model import ReadModel
from confiture_backfill.resume import fill_each
from confiture_backfill.settings import CONFIG_KEYS, read_settings

if TYPE_CHECKING:
    from collections.abc import Generator

    from psycopg import Connection


@frozen
class BackfillReadModel:
    """Fills the read models that a migration needs.

    Attributes:
        config_keys: The keys of its table in the configuration.
    """

    config_keys: ClassVar[dict[str, str]] = CONFIG_KEYS

    @hookimpl
    def after_ddl(
        self, conn: Connection[Any], context: HookContext
    ) -> HookResult | Generator[Any, None, HookResult] | None:
        """Fill the read models that this migration needs; do nothing backward or if none is configured."""
        if context.direction != "forward":
            return None
        models = find_needed(context)
        if any(model.batch for model in models):
            return _fill_in_batches(conn, context, models)
        return _make_result([fill_model(conn, model) for model in models]) if models else None


def _fill_in_batches(
    conn: Connection[Any], context: HookContext, models: tuple[ReadModel, ...]
) -> Generator[Any, None, HookResult]:
    return _make_result((yield from fill_each(conn, models, context.resume, context.log)))


def find_needed(context: HookContext) -> tuple[ReadModel, ...]:
    """Return the read models of this migration: the configured ones, then the one of its file.

    Raises:
        PluginSettingsFault: One is not usable, or a table is to be filled twice.
    """
    version, name = context.migration_version, context.migration_name
    models = [
        settings.model for settings in read_settings(context.config) if settings.applies_to(version, name)
    ]
    if (file := read_backfill_file(context.folder, version, name)) is not None:
        if any(model.table == file.table for model in models):
            raise PluginSettingsFault(
                f"{file.table} is filled by the configuration and by {file.source}",
                hint="keep one of them",
            )
        models.append(file)
    return tuple(models)


def _make_result(filled: list[FilledModel]) -> HookResult:
    stats = [model.stats for model in filled]
    return HookResult(
        phase="AFTER_DDL",
        hook_name="BackfillReadModel",
        rows_affected=sum(model.rows for model in filled),
        stats=stats[0] if len(stats) == 1 else {"models": stats},
    )
