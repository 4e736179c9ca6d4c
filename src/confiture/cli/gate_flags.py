"""Define the gate's flags, and apply the gate to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve, frozen

from confiture.cli.flags import collect_options, find_given
from confiture.config.settings import Settings
from confiture.exceptions import ConfigurationFault, UsageFault
from confiture.models.report import Report

if TYPE_CHECKING:
    from confiture.api.execution import Judge
    from confiture.estimate.rehearse_sizes import Production
    from confiture.gate.accepted import AcceptedFinding
    from confiture.gate.scope import Scope
    from confiture.migrations.version import VersionKey
    from confiture.plugins.load import LoadedPlugin

NO_GATE = click.option(
    "--no-gate", is_flag=True, help="Report findings, but do not let them change the exit code."
)
SINCE = click.option(
    "--since",
    metavar="GITREF",
    help="Judge only the files that changed since HEAD's branch left this commit.",
)
STRICT = click.option("--strict", is_flag=True, help="Every ignore needs a reason.")
ALLOW_EMPTY = click.option("--allow-empty", is_flag=True, help="Exit 0 if there are no files to check.")


@frozen
class GateOptions:
    """The values of the gate's flags.

    Attributes:
        no_gate: True if findings must not change the exit code.
        since: The commit to compare with; ``None`` to check all migrations.
        strict: True if every ignore needs a reason.
        allow_empty: True if having no file to check is not an error.
        ignores_accepted: True to count accepted findings like any other.
    """

    no_gate: bool = False
    since: str | None = None
    strict: bool = False
    allow_empty: bool = False
    ignores_accepted: bool = False

    def check(self, *, judges: bool) -> None:
        """Refuse the gate's flags if the command runs no gate.

        Raises:
            click.UsageError: A flag of the gate was given, and the command runs no gate.
        """
        given = {
            "--no-gate": self.no_gate,
            "--since": self.since,
            "--strict": self.strict,
            "--allow-empty": self.allow_empty,
        }
        alone = find_given(given)
        if alone and not judges:
            raise click.UsageError(f"{alone} is for the gate: add --gate, or --dry-run")


add_gate_flags = collect_options(GateOptions, "gate_options", NO_GATE, SINCE, STRICT, ALLOW_EMPTY)
"""Add the flags to a command, which gets them as one value, ``gate_options``."""


def build_rules_judge(
    settings: Settings,
    plugins: tuple[LoadedPlugin, ...],
    *,
    strict: bool,
    scope: Scope | None = None,
    production: Production | None = None,
) -> Judge:
    """Return the function that adds the findings of the rules to a rehearsal's report.

    A table that no migration of ``scope`` creates counts as filled, unless ``production`` says otherwise.

    Raises:
        ConfitureError: A plugin's rules cannot be loaded, or a severity is set for an unknown rule.
    """
    from confiture.rules.evaluate import select_rules
    from confiture.rules.judge_rehearsal import make_judge
    from confiture.rules.registry import collect_rules, read_severities

    rules = collect_rules(plugins)
    relations = production.statistics.relations if production else ()
    return make_judge(
        settings,
        select_rules(rules, read_severities(settings.gate.severity, rules)),
        strict=strict,
        scope=scope,
        empty_in_production=frozenset(
            name for name in relations if production and production.statistics.count_rows(name) == 0
        ),
    )


def choose_scope(settings: Settings, gate_options: GateOptions, files: Sequence[Path] = ()) -> Scope:
    """Return the migrations that the gate checks.

    Raises:
        UsageFault: git cannot determine what changed, or nothing changed.
    """
    from confiture.gate.scope import Scope

    after = settings.gate.judge_after
    if gate_options.since is None:
        return Scope(after)
    from confiture.gate.changed_files import list_base_files, list_changed_files
    from confiture.rules.parse_files import show_path

    places = [*files] or [settings.migrations]
    versions = _find_versions(settings)
    changed = [
        file for file in list_changed_files(gate_options.since, places) if files or versions.find(file)
    ]
    if not (changed or gate_options.allow_empty):
        raise UsageFault(
            f"--since {gate_options.since}: no migration has changed",
            hint="to exit 0 in this case, add --allow-empty",
        )
    base = [path for path in list_base_files(gate_options.since, places) if files or versions.find(path)]

    def list_names(paths: Sequence[Path]) -> frozenset[str]:
        return frozenset(show_path(path, settings.root.resolve()) for path in paths)

    def list_versions(paths: Sequence[Path]) -> frozenset[VersionKey]:
        return frozenset(key for path in paths for key in versions.find(path))

    return Scope(
        after,
        gate_options.since,
        list_names(changed),
        list_versions(changed),
        list_names(base),
        list_versions(base),
    )


@frozen
class _FileVersions:
    """The versions of the migrations that are in a file, by its absolute path.

    Attributes:
        by_path: As the source of the folder reads it.
        plain: True to read versions from the names of other files, as the plain convention does.
    """

    by_path: Mapping[Path, tuple[VersionKey, ...]]
    plain: bool

    def find(self, path: Path) -> tuple[VersionKey, ...]:
        """Return the versions in a file; none if it is not of a migration."""
        from confiture.migrations.version import parse_filename, parse_version

        if path in self.by_path:
            return self.by_path[path]
        named = parse_filename(path.name) if self.plain else None
        return (parse_version(named.version),) if named else ()


def _find_versions(settings: Settings) -> _FileVersions:
    from confiture.migrations.version import parse_version
    from confiture.sources.read_migrations import PLAIN, read_migrations

    if settings.source in (None, PLAIN):
        return _FileVersions({}, plain=True)
    by_path: dict[Path, tuple[VersionKey, ...]] = {}
    for migration in read_migrations(settings):
        for path in filter(None, (migration.path, migration.down_path)):
            place = path.resolve()
            by_path[place] = (*by_path.get(place, ()), parse_version(migration.version))
    return _FileVersions(by_path, plain=False)


def apply_gate(settings: Settings, report: Report, gate_options: GateOptions, scope: Scope) -> Report:
    """Judge a report by the configured policy and the accepted findings.

    Raises:
        ConfigurationFault: The file of accepted findings cannot be read or parsed.
    """
    from confiture.config.config_file import name_table
    from confiture.gate.judge import judge_report
    from confiture.rules.parse_files import show_path

    before = () if gate_options.ignores_accepted else read_accepted(settings)
    return judge_report(
        report,
        settings.gate,
        scope=scope,
        accepted={entry.fingerprint for entry in before},
        files={
            migration.version: show_path(Path(migration.file), settings.root)
            for migration in report.migrations
            if migration.file
        },
        only_report=gate_options.no_gate,
        table=name_table(settings.file, "gate"),
    )


def read_accepted(settings: Settings) -> tuple[AcceptedFinding, ...]:
    """Return the accepted findings, none if the file does not exist.

    Raises:
        ConfigurationFault: The file cannot be read or parsed.
    """
    from confiture.gate import ACCEPTED_FILE as FILE

    path = settings.root / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigurationFault(f"{FILE} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationFault(f"{FILE} is not UTF-8", hint="restore it from the repository") from None
    from confiture.gate.accepted import parse_accepted

    return parse_accepted(text, FILE)


def lint_files(
    settings: Settings,
    plugins: tuple[LoadedPlugin, ...],
    gate_options: GateOptions,
    files: Sequence[Path] = (),
) -> Report:
    """Check files by their text, without a server, and return the report with the verdict.

    Raises:
        ConfitureError: There are no files, or a file does not parse.
    """
    from confiture.rules.lint import lint

    scope = choose_scope(settings, gate_options, files)
    report = lint(
        settings,
        plugins,
        files,
        severity=settings.gate.severity,
        fail_on="never",
        strict=gate_options.strict,
        allow_empty=gate_options.allow_empty,
        scope=scope if gate_options.since else None,
        checked=scope,
    )
    judged = apply_gate(settings, report, gate_options, scope)
    # If the gate passes, the line that counts the findings is enough.
    return evolve(judged, verdict=None) if judged.verdict and judged.verdict.passed else judged
