"""Decide: which rules a plan breaks, with what severity, and whether that was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from attrs import define, evolve, field, frozen

from confiture.exceptions import PluginFault
from confiture.models.report import Finding
from confiture.rules.fingerprint import make_fingerprint, normalize_sql
from confiture.rules.measurements import find_relation, list_long_blocks, list_worked_on, render_measured
from confiture.rules.parse_tree import list_commands
from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement
from confiture.rules.rule import Hit, Rule, Severity
from confiture.rules.suppressions import Suppressions

Basis = Literal["measured", "static"]
FailOn = Literal["error", "warning", "never"]
_Asking = tuple[str, frozenset[str] | None, bool, bool]
LONG_BLOCK = "long-block"
NO_SEVERITIES: Mapping[str, Severity] = {}


@frozen
class RuleMatch:
    """What a rule says of a statement, and how it knows."""

    rule: Rule
    hit: Hit
    statement: ParsedStatement
    basis: Basis


@define
class RuleSet:
    """The rules by the statements they look at.

    Attributes:
        rules: All that are not off.
        severities: By rule, where they differ from its own.
        known: The ids of all rules, those that are off included.
        silenced: Those that somebody has switched off.
        undecided: Those that only a rehearsal could judge in what was read: their statements were there.
        wide: Those that look at a whole migration.
    """

    rules: Sequence[Rule]
    severities: Mapping[str, Severity] = NO_SEVERITIES
    known: tuple[str, ...] = ()
    silenced: Sequence[Rule] = ()
    undecided: set[str] = field(factory=set)
    wide: tuple[Rule, ...] = field(init=False)
    _by_statement: dict[_Asking, tuple[Rule, ...]] = field(factory=dict)

    @wide.default
    def _list_migration_rules(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.check_migration)

    def select_for_statement(self, statement: ParsedStatement) -> tuple[Rule, ...]:
        """Return the rules to ask of a statement, each list of them made once."""
        altered = statement.kind == "alter_table_stmt"
        sorts = frozenset(command.sort for command in list_commands(statement.stmt)) if altered else None
        asking = statement.kind, sorts, statement.report is not None, statement.inside
        if asking not in self._by_statement:
            self._by_statement[asking] = tuple(rule for rule in self.rules if self._applies(rule, *asking))
        return self._by_statement[asking]

    def _applies(
        self, rule: Rule, kind: str, sorts: frozenset[str] | None, rehearsed: bool, inside: bool
    ) -> bool:
        """Whether a rule looks at such a statement; of an ALTER TABLE, at one of its commands.

        What only a rehearsal decides is not asked again without one: that it is open is known.
        """
        if rule.check is None or (rule.kinds and kind not in rule.kinds):
            return False
        # A rule for any kind judges what was measured, and that is of the block as a whole.
        if inside and not rule.kinds:
            return False
        if not rehearsed and (
            rule.rehearsed_only or (rule.basis == "measured" and rule.id in self.undecided)
        ):
            return False
        return sorts is None or not rule.subcommands or not sorts.isdisjoint(rule.subcommands)

    def mark_undecided(self, rule: Rule) -> None:
        """Note that only a rehearsal can judge it."""
        if rule.id not in self.undecided:
            self.undecided.add(rule.id)
            self._by_statement.clear()

    def choose_severity(self, rule: Rule, hit: Hit) -> Severity:
        """Return how bad it is."""
        return self.severities.get(rule.id) or hit.severity or rule.severity


def select_rules(rules: Iterable[Rule], severities: Mapping[str, Severity] = NO_SEVERITIES) -> RuleSet:
    """Return the rules that are to be kept; what is off is left out."""
    each = tuple(rules)
    kept = [rule for rule in each if severities.get(rule.id, rule.severity) != "off"]
    silenced = [rule for rule in each if severities.get(rule.id) == "off"]
    return RuleSet(kept, severities, tuple(rule.id for rule in each), silenced)


def find_findings(
    migrations: Sequence[ParsedMigration],
    rule_set: RuleSet,
    *,
    empty: Collection[str] = (),
    strict: bool = False,
) -> tuple[Finding, ...]:
    """Return what is to be known of these migrations, in their order, by line.

    Args:
        migrations: The migrations, with what a rehearsal saw where there was one.
        rule_set: The rules.
        empty: Relations that held no rows when it was rehearsed.
        strict: Whether an ignore needs a reason.
    """
    return tuple(
        finding
        for migration in migrations
        for finding in _keep_worst(tuple(_judge_migration(migration, rule_set, empty, strict)))
    )


def _keep_worst(each: Sequence[Finding]) -> Iterator[Finding]:
    """Leave out what one rule says of a line where it says worse of it."""
    errors = {(one.rule, one.line) for one in each if one.severity == "error"}
    yield from (one for one in each if one.severity == "error" or (one.rule, one.line) not in errors)


def has_failure(findings: Iterable[Finding], fail_on: FailOn = "error") -> bool:
    """Whether one of the findings is as bad as what the gate is to fail on."""
    bad = {"error": ("error",), "warning": ("error", "warning"), "never": ()}[fail_on]
    return any(finding.severity in bad and not finding.ignored for finding in findings)


def _judge_migration(
    migration: ParsedMigration, rule_set: RuleSet, empty: Collection[str], strict: bool
) -> Iterator[Finding]:
    ignored = Suppressions(migration, rule_set.rules)
    counted = Counter[tuple[str, str]]()
    verdicts = sorted(_find_matches(migration, rule_set, empty, ignored), key=_get_place)
    for verdict in verdicts:
        severity = rule_set.choose_severity(verdict.rule, verdict.hit)
        if severity == "off":
            continue
        same = verdict.rule.id, normalize_sql(verdict.statement.sql)
        counted[same] += 1
        measured = verdict.basis == "measured"
        yield Finding(
            rule=verdict.rule.id,
            severity=severity,
            migration=migration.version,
            file=migration.file,
            line=verdict.hit.line or verdict.statement.line,
            relation=find_relation(verdict.hit, verdict.statement) if measured else verdict.hit.relation,
            message=render_measured(verdict.hit, verdict.statement) if measured else verdict.hit.message,
            recipe=verdict.hit.recipe,
            basis=verdict.basis,
            ignored=ignored.suppresses(verdict.rule.id, verdict.statement),
            fingerprint=make_fingerprint(
                verdict.rule.id, migration.file, verdict.statement.sql, counted[same]
            ),
        )
    if ignored.has_any:
        yield from ignored.find_findings(rule_set.severities, strict=strict)


def _get_place(verdict: RuleMatch) -> tuple[int, str]:
    return verdict.hit.line or verdict.statement.line, verdict.rule.id


def _find_matches(
    migration: ParsedMigration, rule_set: RuleSet, empty: Collection[str], ignored: Suppressions
) -> Iterator[RuleMatch]:
    for statement in migration.statements:
        named = False
        for inner in _list_with_inner(statement):
            for rule in rule_set.select_for_statement(inner):
                for hit in _check_statement(rule, inner):
                    ignored.note_match(rule.id, statement)
                    verdict = _judge_hit(rule, hit, inner, empty)
                    if statement.report is None and (rule.basis == "measured" or not hit.sure):
                        rule_set.mark_undecided(rule)
                    if verdict:
                        named = named or verdict.basis == "measured"
                        yield verdict
        if not named and list_long_blocks(statement) and not _is_silenced(rule_set, statement):
            unnamed = (rule for rule in rule_set.rules if rule.id == LONG_BLOCK)
            yield from (
                RuleMatch(rule, _make_unnamed_hit(statement), statement, "measured") for rule in unnamed
            )
    for rule in rule_set.wide:
        for hit in rule.check_migration(migration) if rule.check_migration else ():
            statement = _find_statement(migration, hit.line)
            ignored.note_match(rule.id, statement)
            yield RuleMatch(rule, hit, statement, "measured" if rule.basis == "measured" else "static")


def _list_with_inner(statement: ParsedStatement) -> tuple[ParsedStatement, ...]:
    """Return the statement and, if it was rehearsed, those in its DO block.

    The text of a block does not tell which of its branches runs: only a rehearsal can confirm a finding.
    """
    return (statement, *statement.inner_statements) if statement.report is not None else (statement,)


def _is_silenced(rule_set: RuleSet, statement: ParsedStatement) -> bool:
    """Whether a rule that would name this statement is switched off: the catch-all is silent then too."""
    return any(
        _check_statement(rule, inner)
        for inner in _list_with_inner(statement)
        for rule in rule_set.silenced
        if rule.check and (inner.kind in rule.kinds or not (rule.kinds or inner.inside))
    )


def _check_statement(rule: Rule, statement: ParsedStatement) -> list[Hit]:
    try:
        return list(rule.check(statement)) if rule.check else []
    except Exception as error:
        raise PluginFault(
            f"the rule {rule.id} failed at {statement.migration.file}:{statement.line} with "
            f"{type(error).__name__}: {error}",
            hint=f'it can be switched off: severity = {{{rule.id} = "off"}}',
        ) from error


def _make_unnamed_hit(statement: ParsedStatement) -> Hit:
    return Hit(message="", relation=list_long_blocks(statement)[0])


def _find_statement(migration: ParsedMigration, line: int | None) -> ParsedStatement:
    """Return the statement of a line, for its ignores and its fingerprint."""
    for statement in migration.statements:
        if statement.line == line:
            return statement
    return (
        migration.statements[0]
        if migration.statements
        else ParsedStatement("", line or 1, "", None, migration)
    )


def _judge_hit(rule: Rule, hit: Hit, statement: ParsedStatement, empty: Collection[str]) -> RuleMatch | None:
    """Return what becomes of a hit: measured, static, or nothing where the rehearsal says otherwise."""
    rehearsed = statement.report is not None and statement.report.not_rehearsed is None
    if not rehearsed:
        certain = rule.basis != "measured" and hit.sure and not statement.inside
        return RuleMatch(rule, hit, statement, "static") if certain else None
    if rule.basis == "static":
        return (
            None
            if statement.inside
            else RuleMatch(rule, hit, statement, "measured" if list_long_blocks(statement) else "static")
        )
    if rule.confirmed_by is None or rule.confirmed_by(hit, statement):
        return RuleMatch(rule, _soften(rule, hit, statement), statement, "measured")
    if rule.basis == "measured" or statement.inside or not hit.sure or not _is_empty(hit, statement, empty):
        return None
    return RuleMatch(rule, hit, statement, "static")


def _soften(rule: Rule, hit: Hit, statement: ParsedStatement) -> Hit:
    """Return the hit, milder where a rule of long blocks met an empty table in the rehearsal."""
    if (
        rule.basis == "measured"
        and rule.severity == "error"
        and rule.confirmed_by
        and not list_long_blocks(statement)
    ):
        return evolve(hit, severity="warning")
    return hit


def _is_empty(hit: Hit, statement: ParsedStatement, empty: Collection[str]) -> bool:
    """Whether the rehearsal could show nothing, because there was no row to read."""
    worked = list_worked_on(statement)
    if worked and not list_long_blocks(statement):
        return True
    return hit.relation is not None and any(
        name == hit.relation or name.endswith(f".{hit.relation}") for name in empty
    )
