"""The hooks: mirror a migration just before its commit, a failure after its rollback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import psycopg

from confiture import HookContext, HookResult, hookimpl
from confiture.exceptions import describe_error
from confiture_pggit.features import PgGitFeatures, find_features
from confiture_pggit.read import read_versions
from confiture_pggit.settings import CONFIG_KEYS, PgGitSettings, read_settings
from confiture_pggit.write import create_commit, write_event

if TYPE_CHECKING:
    from psycopg import Connection

    from confiture.models.schema import ObjectVersion

T = TypeVar("T")


class MirrorToPgGit:
    """Mirrors each migration to pgGit, forward or backward.

    Attributes:
        config_keys: What its table of settings may hold.
    """

    config_keys: ClassVar[dict[str, str]] = CONFIG_KEYS

    @hookimpl(trylast=True)
    def cleanup(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Mirror a migration that succeeded, in its transaction: both are committed, or neither."""
        settings = read_settings(context.config)
        features = _find_configured(conn, context, settings)
        if features is None:
            return None
        commit_hash = _commit(conn, context, settings, features)
        kind = "APPLIED" if context.direction == "forward" else "REVERTED"
        mirrored = _mirror_event(conn, context, features, kind, commit_hash=commit_hash)
        return HookResult("CLEANUP", "MirrorToPgGit", stats={"event": mirrored, "commit": commit_hash})

    @hookimpl(trylast=True)
    def on_error(
        self, conn: Connection[Any], context: HookContext, error: BaseException
    ) -> HookResult | None:
        """Mirror a migration that failed, after its rollback."""
        features = _find_configured(conn, context, read_settings(context.config))
        if features is None:
            return None
        mirrored = _mirror_event(conn, context, features, "FAILED", error=_summarize(error))
        return HookResult("ON_ERROR", "MirrorToPgGit", stats={"event": mirrored})

    @hookimpl
    def object_versions(
        self, conn: Connection[Any], config: Mapping[str, Any]
    ) -> tuple[ObjectVersion, ...] | None:
        """Return the versions and the last changes of the objects that pgGit knows."""
        settings = read_settings(config)
        if not settings.enabled:
            return None
        features = find_features(conn)
        return read_versions(conn, features, settings.history_rows) if features.versions else None


def _find_configured(
    conn: Connection[Any], context: HookContext, settings: PgGitSettings
) -> PgGitFeatures | None:
    """Return what the database has of pgGit; ``None`` if there is nothing to mirror to."""
    if not settings.enabled:
        return None
    features = _try(conn, context, "pgGit cannot be looked for", lambda: find_features(conn))
    if features is None or features.events or features.commit_type:
        return features
    context.warn("not mirrored: the database has neither pggit.system_events nor pggit.create_commit")
    return None


def _commit(
    conn: Connection[Any], context: HookContext, settings: PgGitSettings, features: PgGitFeatures
) -> str | None:
    """Make a commit of the migration's SQL if pgGit can, and return its hash."""
    commit_type = features.commit_type
    if commit_type is None or not settings.commits:
        return None
    message = f"{context.migration_version} {context.migration_name}".rstrip()
    if context.direction == "backward":
        message = f"Revert {message}"
    # On lines by themselves: a statement may end in a comment.
    sql = "\n;\n".join(context.statements())
    return _try(
        conn,
        context,
        "no commit was made",
        lambda: create_commit(conn, commit_type, settings.branch, message, sql),
    )


def _mirror_event(
    conn: Connection[Any], context: HookContext, features: PgGitFeatures, kind: str, **facts: str | None
) -> bool:
    """Write the event if pgGit has the table; return True if it was written."""
    if not features.events:
        return False
    more = {
        "version": context.migration_version,
        "name": context.migration_name,
        "direction": context.direction,
        **facts,
    }

    def write() -> bool:
        write_event(conn, kind, more)
        return True

    return bool(_try(conn, context, "the event was not mirrored", write))


def _try(conn: Connection[Any], context: HookContext, what: str, action: Callable[[], T]) -> T | None:
    """Call ``action``, which uses a savepoint; its failure becomes a warning: pgGit stops no migration."""
    try:
        return action()
    except psycopg.Error as error:
        # On a lost connection the migration cannot go on either.
        if conn.closed:
            raise
        context.warn(f"{what}: {_summarize(error)}")
        return None


def _summarize(error: BaseException) -> str:
    """Return the error's message on one line, without the rows that the server's detail may quote."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    # jsonb accepts neither a NUL nor a lone surrogate.
    return (primary or describe_error(error)).replace("\0", "").encode(errors="replace").decode()
