"""``confiture anonymize``: copy, suggest a profile, verify a copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from confiture.cli.plugin_report import Flags, ReportCommand, finding_options, report_findings
from confiture.plugins.kit import format_count

if TYPE_CHECKING:
    from confiture.models.report import Report
    from confiture_anonymize.copy_database import TableCopied
    from confiture_anonymize.copy_session import CopySession

_FROM = click.option("--from", "source_url", metavar="URL", help="The database to copy from.")
_TO = click.option("--to", "target_url", metavar="URL", help="The database of the copy.")
_PROFILE = click.option("--profile", metavar="NAME", help="[anonymize.profiles.NAME] of the configuration.")
_ENV = click.option("--env", metavar="NAME", help="Use the [env.NAME] table of the configuration.")


@click.group("anonymize", invoke_without_command=True)
@_PROFILE
@_FROM
@_TO
@_ENV
@click.option(
    "--in-place", "in_place_url", metavar="URL", help="A copy to mask itself, instead of --from and --to."
)
@click.option("--resume", is_flag=True, help="Go on with an unfinished copy.")
@click.option("--drop", is_flag=True, help="Empty the tables of the copy, and copy nothing.")
@click.pass_context
def command(
    ctx: click.Context,
    profile: str | None,
    source_url: str | None,
    target_url: str | None,
    env: str | None,
    in_place_url: str | None,
    resume: bool,
    drop: bool,
) -> int | None:
    """Copy a database without its personal data, into one that has its schema; or mask a copy in place.

    The secret is read from CONFITURE_ANONYMIZE_SECRET.
    """
    if ctx.invoked_subcommand is not None:
        return None
    if resume and drop:
        raise click.UsageError("--resume and --drop cannot be used together")
    if in_place_url and (source_url or target_url):
        raise click.UsageError("--in-place names the only database: leave out --from and --to")
    with _open_session(profile, source_url, target_url, env, in_place_url) as session:
        if drop:
            session.drop()
            click.echo("dropped: the tables of the copy are empty")
            return 0
        copied = session.copy(resume=resume, report=_report_table)
    tables = format_count(len(copied), "table")
    rows = format_count(sum(table.rows for table in copied), "row")
    done = f"masked {tables} in place" if in_place_url else f"copied {tables}"
    click.echo(f"{done}, {rows}, as profile {profile}")
    return 0


def _report_table(table: TableCopied) -> None:
    before = " (copied before)" if table.resumed else ""
    click.echo(f"{table.name}: {format_count(table.rows, 'row')}{before}", err=True)


@command.command("suggest")
@click.option("--url", metavar="URL", help="The database to look at.")
@click.option("--sample", "sample_rows", default=1000, show_default=True, help="Rows to read per table.")
@click.option("--name", default="qa", show_default=True, help="The name of the profile.")
def suggest(url: str | None, sample_rows: int, name: str) -> int:
    """Print a profile to review, from names, types, comments and a sample; never a value."""
    from confiture.api.plugin_commands import open_url, read_settings
    from confiture_anonymize.source_schema import read_tables
    from confiture_anonymize.suggest_profile import render_profile

    settings = read_settings(url)
    with open_url(settings, settings.url or "") as conn:
        tables = read_tables(conn, settings.schema)
        prefix = "tool.confiture." if settings.file and settings.file.name == "pyproject.toml" else ""
        click.echo(render_profile(conn, tables, f"{prefix}anonymize.profiles.{name}", sample_rows), nl=False)
    return 0


@command.command("verify", cls=ReportCommand, mode="dry-run")
@_PROFILE
@_FROM
@_TO
@finding_options
def verify(flags: Flags, profile: str | None, source_url: str | None, target_url: str | None) -> int:
    """Check that a copy holds nothing personal and is whole; exit 1 if it is not."""

    def find() -> Report:
        with _open_session(profile, source_url, target_url, flags.env) as session:
            return session.verify()

    return report_findings(flags, find)


@contextmanager
def _open_session(
    profile: str | None,
    source_url: str | None,
    target_url: str | None,
    env: str | None,
    in_place_url: str | None = None,
) -> Iterator[CopySession]:
    ends = {"--in-place": in_place_url} if in_place_url else {"--from": source_url, "--to": target_url}
    required = {"--profile": profile, **ends}
    if missing := [flag for flag, value in required.items() if not value]:
        raise click.UsageError(f"missing {', '.join(missing)}")
    from confiture_anonymize.copy_session import open_session

    with open_session(str(profile), source_url, in_place_url or str(target_url), env) as session:
        yield session
