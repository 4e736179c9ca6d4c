"""Judge the schema of a database: the one that the migrations lead to, or a live one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from confiture.config.schema_policy import SchemaPolicy
from confiture.config.settings import Settings
from confiture.exceptions import MigrationFault, MigrationFaults, SourceFault
from confiture.models.report import Finding, FindingSeverity, Report
from confiture.postgres.connect import open_connection
from confiture.rules.ask_rule import find_hits
from confiture.rules.describe_rules import describe_rules
from confiture.rules.evaluate import RuleSet, find_findings, select_rules
from confiture.rules.fingerprint import make_fingerprint
from confiture.rules.object_places import ObjectPlaces, find_places
from confiture.rules.parse_files import read_script
from confiture.rules.parsed_migration import ParsedMigration, link_plan
from confiture.rules.recipes import read_recipe
from confiture.rules.registry import collect_rules, read_severities
from confiture.rules.rule import Hit, Rule, Severity
from confiture.rules.schema_ignores import SchemaIgnores, collect_ignores
from confiture.rules.suppressions import UNUSED, WITHOUT_REASON
from confiture.schema.backfills import read_backfills
from confiture.schema.build_schema import build_schema
from confiture.schema.judged_schema import JudgedSchema
from confiture.schema.read_catalog import read_catalog
from confiture.sources.read_migrations import read_migrations
from confiture.units import format_count

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


@frozen
class _Match:
    """What a rule found in a schema."""

    rule: str
    hit: Hit
    severity: FindingSeverity
    ignored: bool


def lint_schema(
    settings: Settings, plugins: Sequence[LoadedPlugin] = (), *, live: bool, strict: bool = False
) -> Report:
    """Return a report with the findings about a schema.

    Args:
        settings: The settings, with what the schema is expected to look like.
        plugins: The plugins whose rules count too.
        live: True to judge the database of ``settings.url``, without writing to it; else the schema that
            the migrations lead to.
        strict: True if an ignore needs a reason.

    Raises:
        ConfitureError: The schema cannot be read or built, or the configuration names an unknown rule.
    """
    rules = collect_rules(plugins)
    rule_set = select_rules(rules, read_severities(settings.gate.severity, rules))
    uses = tuple(plugin.use for plugin in plugins)
    if live:
        return evolve(_judge_database(settings, rule_set, rules, strict=strict), plugins=uses)
    with build_schema(settings) as (built, run):
        if run.exit_code:
            return run
        return evolve(_judge_database(built, rule_set, rules, strict=strict), plugins=uses)


def _judge_database(
    settings: Settings, rule_set: RuleSet, rules: tuple[Rule, ...], *, strict: bool
) -> Report:
    with open_connection(settings) as conn:
        catalog = read_catalog(conn, settings.schema)
    migrations = _read_migrations(settings)
    schema = JudgedSchema(catalog, settings.schema_policy or SchemaPolicy(), read_backfills(settings))
    findings = judge_schema(schema, rule_set, rules, migrations, strict=strict)
    return Report(
        mode="dry-run",
        outcome="ok",
        exit_code=0,
        findings=findings,
        rules=describe_rules(rules, findings),
        notes=_make_notes(schema, rule_set),
        judged=_describe(schema),
    )


def judge_schema(
    schema: JudgedSchema,
    rule_set: RuleSet,
    rules: Sequence[Rule],
    migrations: Sequence[ParsedMigration] = (),
    *,
    strict: bool = False,
) -> tuple[Finding, ...]:
    """Return the findings of all rules about schemas, in the order of the files.

    Args:
        schema: The schema.
        rule_set: The rules that are not off.
        rules: All rules: an ignore may name any of them.
        migrations: The migrations, which tell where each object was written.
        strict: True if an ignore needs a reason.
    """
    applied = [rule for rule in rule_set.rules if rule.judges_schema and _is_configured(rule, schema)]
    ignores = SchemaIgnores(collect_ignores(schema, rules), [rule.id for rule in applied])
    matches = [
        *_find_matches(schema, rule_set, applied, ignores),
        *_find_ignore_matches(rule_set, ignores, strict),
    ]
    places = find_places(migrations)
    findings = [*_make_findings(matches, places), *_judge_migrations(schema, rule_set, applied, migrations)]
    return tuple(sorted(findings, key=lambda finding: (finding.file, finding.line or 0)))


def _is_configured(rule: Rule, schema: JudgedSchema) -> bool:
    return all(schema.policy.has(key) for key in rule.needs)


def _find_matches(
    schema: JudgedSchema, rule_set: RuleSet, applied: Iterable[Rule], ignores: SchemaIgnores
) -> Iterator[_Match]:
    for rule in applied:
        for hit in find_hits(rule, rule.check_schema, schema, "the schema"):
            if (severity := rule_set.choose_severity(rule, hit)) != "off":
                yield _Match(rule.id, hit, severity, ignores.covers(rule.id, hit))


def _find_ignore_matches(rule_set: RuleSet, ignores: SchemaIgnores, strict: bool) -> Iterator[_Match]:
    defaults: dict[str, Severity] = {UNUSED: "warning", WITHOUT_REASON: "error"}
    for rule, hit in ignores.find_hits(strict=strict):
        severity = rule_set.severities.get(rule, defaults[rule])
        if severity != "off":
            yield _Match(rule, hit, severity, False)


def _make_findings(matches: Sequence[_Match], places: ObjectPlaces) -> Iterator[Finding]:
    occurrences = Counter[tuple[str, str]]()
    for match in matches:
        hit = match.hit
        # Without the message and the place: both may change while the fault stays.
        key = match.rule, f"{hit.relation} {hit.part or ''}"
        occurrences[key] += 1
        recipe = read_recipe(hit.recipe)
        place = places.find(hit.relation or "", hit.part)
        yield Finding(
            rule=match.rule,
            severity=match.severity,
            migration=place.version,
            file=place.file,
            line=hit.line or place.line,
            relation=hit.relation,
            message=hit.message,
            recipe=recipe.text if recipe else None,
            basis="static",
            ignored=match.ignored,
            fingerprint=make_fingerprint(match.rule, "schema", key[1], occurrences[key]),
        )


def _judge_migrations(
    schema: JudgedSchema, rule_set: RuleSet, applied: Iterable[Rule], migrations: Sequence[ParsedMigration]
) -> tuple[Finding, ...]:
    """Return what the rules that need the schema find in the migrations."""
    wide = [rule for rule in applied if rule.check_migration]
    for migration in migrations:
        migration.judged_schema = schema
    return find_findings(migrations, RuleSet(wide, rule_set.severities, rule_set.known)) if wide else ()


def _read_migrations(settings: Settings) -> tuple[ParsedMigration, ...]:
    """Parse the migrations as far as they can be parsed; a live schema may have none."""
    try:
        scripts = read_migrations(settings)
    except (SourceFault, MigrationFault, MigrationFaults):
        # `lint` reports the faults; here the files only tell where objects are written.
        return ()
    migrations: list[ParsedMigration] = []
    for script in scripts:
        with suppress(MigrationFault):
            migrations.append(read_script(script, settings.root))
    link_plan(migrations)
    return tuple(migrations)


def _make_notes(schema: JudgedSchema, rule_set: RuleSet) -> tuple[str, ...]:
    unset = [rule.id for rule in rule_set.rules if rule.judges_schema and not _is_configured(rule, schema)]
    return (f"not configured, so off: {', '.join(unset)}",) if unset else ()


def _describe(schema: JudgedSchema) -> str:
    counts = (
        (len(schema.tables), "table"),
        (len(schema.views), "view"),
        (len(schema.functions), "function"),
    )
    what = ", ".join(format_count(count, name) for count, name in counts)
    return f"{what} judged on PostgreSQL {schema.catalog.server_version}"
