"""Check the flags of ``--schema``, and judge a schema by rules and gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve

from confiture.cli.flags import Flags
from confiture.cli.gate_flags import GateOptions, apply_gate, choose_scope
from confiture.config.settings import Settings
from confiture.models.report import Report

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


def check_schema_flags(flags: Flags, files: Sequence[Path], *, schema: bool) -> None:
    """Refuse flags that do not fit together.

    Raises:
        click.UsageError: Files were named with ``--schema``, or a database without it.
    """
    if schema and files:
        raise click.UsageError("--schema judges the schema as a whole: name no files")
    if not schema and flags.url is not None:
        raise click.UsageError("lint reads files: --url is for lint --schema")


def judge_schema(
    settings: Settings, plugins: tuple[LoadedPlugin, ...], gate_options: GateOptions, *, flags: Flags
) -> Report:
    """Judge the schema of ``--url``, or the one that the migrations lead to.

    Raises:
        ConfitureError: The schema cannot be read or built.
    """
    from confiture.cli.context import open_server
    from confiture.cli.error_messages import say, say_line
    from confiture.postgres.signals import raise_on_signals
    from confiture.rules.lint_schema import lint_schema

    scope = choose_scope(settings, gate_options)
    if flags.url is None and not flags.quiet:
        say(["applying the migrations to an empty database on an embedded server, to judge its schema"])
    # A signal must not leave the embedded server behind.
    with raise_on_signals(say_line), open_server(evolve(settings, url=flags.url)) as opened:
        report = lint_schema(opened, plugins, live=flags.url is not None, strict=gate_options.strict)
    judged = apply_gate(settings, report, gate_options, scope)
    # If the gate passes, the line that counts the findings is enough.
    return evolve(judged, verdict=None) if judged.verdict and judged.verdict.passed else judged
