"""Open both databases of a copy, once everything that can be known before the first row is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict

from confiture.api.plugin_commands import (
    find_production_url,
    find_schema_differences,
    open_url,
    read_settings,
)
from confiture.exceptions import ConnectionFault
from confiture.models.report import Report
from confiture_anonymize.copy_database import CopyRequest, TableCopied, copy_database, drop_copy
from confiture_anonymize.copy_findings import build_report
from confiture_anonymize.copy_plan import TablePlan, compile_plan
from confiture_anonymize.copy_record import RecordTable
from confiture_anonymize.errors import CopyFault, TargetFault
from confiture_anonymize.keyed_hash import Key, read_key, refuse_written_secret
from confiture_anonymize.profile import Profile
from confiture_anonymize.read_profile import read_profile
from confiture_anonymize.refuse_target import refuse_production, refuse_same_database
from confiture_anonymize.server_errors import describe_safely
from confiture_anonymize.source_schema import read_tables
from confiture_anonymize.verify_copy import verify_copy


@frozen
class CopySession:
    """Both ends of a copy, and what is to be done between them.

    Attributes:
        source: The database to copy from.
        target: The database of the copy.
        profile: What becomes of each column.
        plans: That, applied to the tables there are.
        key: The secret.
        ledger_schema: The schema of confiture's ledger.
        in_place: True if both are connections to the database that is masked.
    """

    source: Connection[Any]
    target: Connection[Any]
    profile: Profile
    plans: tuple[TablePlan, ...]
    key: Key
    ledger_schema: str
    in_place: bool = False

    def copy(self, *, resume: bool, report: Callable[[TableCopied], None]) -> tuple[TableCopied, ...]:
        """Copy all tables.

        Raises:
            ConfitureError: The target's schema differs, it holds rows, or the copy failed.
        """
        if differences := find_schema_differences(self.source, self.target, self.ledger_schema):
            names = ", ".join(f"{item.kind} {item.identity}" for item in differences[:5])
            more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
            raise TargetFault(
                f"the schema of the target differs: {names}{more}",
                hint="migrate the target to the same version, or make it with pg_dump --schema-only",
            )
        request = CopyRequest(
            self.profile.name, self.plans, self.key, self.ledger_schema, resume, self.in_place
        )
        return copy_database(self.source, self.target, request, report)

    def drop(self) -> None:
        """Empty the target, if it holds a copy.

        Raises:
            TargetFault: It holds none.
        """
        drop_copy(self.target, self.plans, self.ledger_schema)

    def verify(self) -> Report:
        """Return a report of what is wrong with the copy.

        Raises:
            TargetFault: There is none, or it is not finished.
            CopyFault: A server refused something, or a connection was lost.
        """
        record = RecordTable(self.target, self.ledger_schema).read()
        if record is None:
            raise TargetFault("the target holds no anonymized copy", hint="make one: confiture anonymize")
        if not record.finished:
            raise TargetFault(
                "the copy in the target is not finished",
                hint="continue with --resume, or empty it with --drop",
            )
        try:
            findings = verify_copy(self.source, self.target, self.plans, self.profile, self.key)
        except psycopg.Error as error:
            message = f"the verification stopped: {describe_safely(error)}"
            raise CopyFault(message, hint="verify again; nothing was changed") from None
        return build_report(findings, self.plans, self.profile)


@contextmanager
def open_session(
    profile_name: str, source_url: str | None, target_url: str, env: str | None
) -> Iterator[CopySession]:
    """Yield both ends of a copy, the profile checked against the source; without one, to mask in place.

    Raises:
        ConfitureError: The profile, the secret or the target cannot be used.
    """
    settings = read_settings(env=env)
    if env == "production":
        raise TargetFault("--env production: production is never a target", hint="leave out --env")
    config = settings.plugin_tables.get("anonymize", {})
    refuse_written_secret(config, settings.file)
    profile = read_profile(config, profile_name)
    key = read_key()
    with ExitStack() as stack:
        source = stack.enter_context(open_url(settings, source_url or target_url))
        target = stack.enter_context(open_url(settings, target_url))
        if source_url:
            refuse_same_database(source, target)
        if production_url := find_production_url(settings):
            _refuse_production_url(production_url, target_url)
            try:
                production = stack.enter_context(open_url(settings, production_url))
            except ConnectionFault:
                # Not reachable from here, so not the database that --to has just reached.
                pass
            else:
                refuse_production(target, production)
        plans = compile_plan(read_tables(source, settings.schema), profile, key)
        yield CopySession(source, target, profile, plans, key, settings.schema, source_url is None)


def _refuse_production_url(production_url: str, target_url: str) -> None:
    keys = ("host", "port", "dbname")
    production, target = conninfo_to_dict(production_url), conninfo_to_dict(target_url)
    if all(production.get(key) == target.get(key) for key in keys):
        raise TargetFault(
            "the target is production: its URL is that of [env.production]",
            hint="name another database; production is never written to",
        )
