"""Apply the rules to a plan: which findings it has, how severe they are, and whether they were measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from attrs import define, evolve, field, frozen

from confiture.config.gate_policy import FailOn
from confiture.models.report import Finding, FindingSeverity
from confiture.rules.ask_rule import find_hits, is_confirmed
from confiture.rules.fingerprint import make_fingerprint, normalize_sql
from confiture.rules.joint_recipes import StatementRecipe, join_recipes
from confiture.rules.measurements import (
    find_relation,
    is_in_use,
    list_empty_blocks,
    list_long_blocks,
    list_worked_on,
    render_measured,
    was_worked_on,
)
from confiture.rules.parse_tree import list_commands
from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement
from confiture.rules.recipe_files import write_files
from confiture.rules.recipes import read_recipe
from confiture.rules.rule import Hit, Rule, Severity
from confiture.rules.suppressions import Suppressions

MatchBasis = Literal["measured", "static"]
_Asking = tuple[str, frozenset[str] | None, bool, bool]
LONG_BLOCK = "long-block"
NO_SEVERITIES: Mapping[str, Severity] = {}
_UNREHEARSED = "; not rehearsed here, so this is what its text tells"


@frozen
class RuleMatch:
    """A hit that stands, the statement it is about, and whether it rests on a measurement."""

    rule: Rule
    hit: Hit
    statement: ParsedStatement
    basis: MatchBasis


@define
class RuleSet:
    """The rules to apply, selected by statement.

    Attributes:
        rules: All rules that are not off.
        severities: The configured severities, by rule id.
        known: The ids of all rules, including those that are off.
        silenced: The rules that the configuration switches off.
        undecided: The ids of rules that found something which only a rehearsal can confirm. ``lint`` lists
            them in a note.
        wide: The rules that look at a whole migration.
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
        """Return the rules that apply to a statement."""
        altered = statement.kind == "alter_table_stmt"
        sorts = frozenset(command.sort for command in list_commands(statement.stmt)) if altered else None
        key = statement.kind, sorts, statement.report is not None, statement.inside
        # Cached, because a folder has many statements and few different keys.
        if key not in self._by_statement:
            self._by_statement[key] = tuple(rule for rule in self.rules if self._applies(rule, *key))
        return self._by_statement[key]

    def _applies(
        self, rule: Rule, kind: str, sorts: frozenset[str] | None, rehearsed: bool, inside: bool
    ) -> bool:
        """Return True if a rule looks at such statements or, in an ALTER TABLE, at one of its commands."""
        if rule.check is None or (rule.kinds and kind not in rule.kinds):
            return False
        # A rule for all kinds judges the measurement, and that belongs to the DO block as a whole.
        if inside and not rule.kinds:
            return False
        # Without a rehearsal such a rule can only become undecided, and it already is: do not call it again.
        if not rehearsed and (
            rule.rehearsed_only or (rule.basis == "measured" and rule.id in self.undecided)
        ):
            return False
        return sorts is None or not rule.subcommands or not sorts.isdisjoint(rule.subcommands)

    def mark_undecided(self, rule: Rule) -> None:
        """Note that only a rehearsal can confirm what the rule found."""
        if rule.id not in self.undecided:
            self.undecided.add(rule.id)
            # The cached selections still contain the rule.
            self._by_statement.clear()

    def choose_severity(self, rule: Rule, hit: Hit) -> Severity:
        """Return the severity of a hit: as configured, else as the hit says, else the rule's default."""
        return self.severities.get(rule.id) or hit.severity or rule.severity


def select_rules(rules: Iterable[Rule], severities: Mapping[str, Severity] = NO_SEVERITIES) -> RuleSet:
    """Return the rule set to apply: the rules that are not off, with the configured severities."""
    known = tuple(rules)
    kept = [rule for rule in known if severities.get(rule.id, rule.severity) != "off"]
    silenced = [rule for rule in known if severities.get(rule.id) == "off"]
    return RuleSet(kept, severities, tuple(rule.id for rule in known), silenced)


def find_findings(
    migrations: Sequence[ParsedMigration],
    rule_set: RuleSet,
    *,
    empty: Collection[str] = (),
    strict: bool = False,
) -> tuple[Finding, ...]:
    """Return the findings about these migrations, in the order of migrations and lines.

    Args:
        migrations: The migrations, with the reports of their rehearsal if there was one.
        rule_set: The rules.
        empty: Relations that held no rows in the rehearsal.
        strict: True if an ignore needs a reason.
    """
    return tuple(
        finding
        for migration in migrations
        for finding in _keep_worst(tuple(_judge_migration(migration, rule_set, empty, strict)))
    )


def _keep_worst(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Drop a milder finding if the same rule reports an error on the same line."""
    errors = {(finding.rule, finding.line) for finding in findings if finding.severity == "error"}
    for finding in findings:
        if finding.severity == "error" or (finding.rule, finding.line) not in errors:
            yield finding


def has_failure(findings: Iterable[Finding], fail_on: FailOn = "error") -> bool:
    """Return True if a finding that is not ignored is at least as severe as ``fail_on``."""
    failing = {"error": ("error",), "warning": ("error", "warning"), "never": ()}[fail_on]
    return any(finding.severity in failing and not finding.ignored for finding in findings)


def _judge_migration(
    migration: ParsedMigration, rule_set: RuleSet, empty: Collection[str], strict: bool
) -> Iterator[Finding]:
    suppressions = Suppressions(migration, rule_set.rules)
    occurrences = Counter[tuple[str, str]]()
    # Sorted before the occurrences are counted: a fingerprint must not depend on the order of the rules.
    matches = sorted(_find_matches(migration, rule_set, empty, suppressions), key=_get_place)
    kept: list[tuple[RuleMatch, FindingSeverity]] = [
        (match, severity)
        for match in _drop_repetitions(matches, rule_set)
        if (severity := rule_set.choose_severity(match.rule, match.hit)) != "off"
    ]
    found = [
        StatementRecipe(
            match.statement,
            read_recipe(match.hit.recipe),
            ignored=suppressions.suppresses(match.rule.id, match.statement),
        )
        for match, _ in kept
    ]
    for (match, severity), joined in zip(kept, join_recipes(found), strict=True):
        key = match.rule.id, normalize_sql(match.statement.sql)
        occurrences[key] += 1
        measured = match.basis == "measured"
        recipe = joined.recipe
        yield Finding(
            rule=match.rule.id,
            severity=severity,
            migration=migration.version,
            file=migration.file,
            line=match.hit.line or match.statement.line,
            relation=find_relation(match.hit, match.statement) if measured else match.hit.relation,
            message=f"{_render_message(match)}{joined.note}",
            recipe=recipe.text if recipe else None,
            files=write_files(match.statement, recipe) if recipe else (),
            basis=match.basis,
            ignored=joined.ignored,
            fingerprint=make_fingerprint(
                match.rule.id, migration.file, match.statement.sql, occurrences[key]
            ),
        )
    if suppressions.has_any:
        yield from suppressions.find_findings(rule_set.severities, strict=strict)


def _render_message(match: RuleMatch) -> str:
    # A long DO block says nothing about those of its statements that only hold a lock.
    brief = match.statement.inside and match.rule.severity != "error"
    measured = match.basis == "measured" and not brief
    return render_measured(match.hit, match.statement) if measured else match.hit.message


def _drop_repetitions(matches: Sequence[RuleMatch], rule_set: RuleSet) -> Iterator[RuleMatch]:
    """Drop the matches that add nothing to an error which another rule reports for the same lock."""
    errors = {
        (line, match.rule.id)
        for match in matches
        if rule_set.choose_severity(match.rule, match.hit) == "error"
        for line in (match.hit.line or match.statement.line,)
    }
    for match in matches:
        others = {line for line, rule in errors if rule != match.rule.id}
        if others.isdisjoint(match.hit.adds_to):
            yield match


def _get_place(match: RuleMatch) -> tuple[int, str]:
    return match.hit.line or match.statement.line, match.rule.id


def _find_matches(
    migration: ParsedMigration, rule_set: RuleSet, empty: Collection[str], suppressions: Suppressions
) -> Iterator[RuleMatch]:
    for statement in migration.statements:
        named = False
        for inner in _list_with_inner(statement):
            for rule in rule_set.select_for_statement(inner):
                for hit in _check_statement(rule, inner):
                    # Before the hit is judged: an ignore of a hit that the rehearsal withdraws is not unused.
                    suppressions.note_match(rule.id, statement)
                    match = _judge_hit(rule, hit, inner, empty)
                    unread = statement.report is None and not migration.rehearsal
                    if unread and (rule.basis == "measured" or not hit.sure):
                        rule_set.mark_undecided(rule)
                    if match:
                        named = named or _names_block(match)
                        yield match
        # The catch-all: a measured long block must not stay silent because no rule knows the statement.
        blocking = next((inner for inner in _list_with_inner(statement) if _list_blocks(inner)), None)
        if not named and blocking and not _is_silenced(rule_set, statement):
            unnamed = (rule for rule in rule_set.rules if rule.id == LONG_BLOCK)
            yield from (
                RuleMatch(rule, _make_unnamed_hit(blocking), blocking, "measured") for rule in unnamed
            )
    for rule in rule_set.wide:
        for hit in find_hits(rule, rule.check_migration, migration, migration.file):
            statement = find_statement(migration, hit.line)
            suppressions.note_match(rule.id, statement)
            yield RuleMatch(rule, hit, statement, "measured" if rule.basis == "measured" else "static")


def _names_block(match: RuleMatch) -> bool:
    """Return True if a finding reports the long block of its statement."""
    # Another statement of the DO block, such as an UPDATE under the lock of its ALTER TABLE, may be the long
    # part.
    severity = match.hit.severity or match.rule.severity
    enough = severity == "error" or not match.statement.inside
    return enough and (match.basis == "measured" or bool(list_empty_blocks(match.statement)))


def _list_with_inner(statement: ParsedStatement) -> tuple[ParsedStatement, ...]:
    """Return the statement and, if it was rehearsed, the statements inside its DO block.

    The text of a block does not tell which branches run, so only a rehearsal can confirm a finding there.
    """
    return (statement, *statement.inner_statements) if statement.report is not None else (statement,)


def _is_silenced(rule_set: RuleSet, statement: ParsedStatement) -> bool:
    """Return True if a rule that is switched off would report this statement.

    The catch-all must then stay silent, or the finding would come back under another name.
    """
    return any(
        _check_statement(rule, inner)
        for inner in _list_with_inner(statement)
        for rule in rule_set.silenced
        if rule.check and (inner.kind in rule.kinds or not (rule.kinds or inner.inside))
    )


def _check_statement(rule: Rule, statement: ParsedStatement) -> list[Hit]:
    return find_hits(rule, rule.check, statement, f"{statement.migration.file}:{statement.line}")


def _make_unnamed_hit(statement: ParsedStatement) -> Hit:
    return Hit(message="", relation=_list_blocks(statement)[0])


def _list_blocks(statement: ParsedStatement) -> tuple[str, ...]:
    return list_long_blocks(statement) or list_empty_blocks(statement)


def find_statement(migration: ParsedMigration, line: int | None) -> ParsedStatement:
    """Return the statement on a line, which has the ignores and makes the fingerprint of a finding there."""
    for statement in migration.statements:
        if statement.line == line:
            return statement
    return (
        migration.statements[0]
        if migration.statements
        else ParsedStatement("", line or 1, "", None, migration)
    )


def _judge_hit(rule: Rule, hit: Hit, statement: ParsedStatement, empty: Collection[str]) -> RuleMatch | None:
    """Return the hit as a measured or static match, or ``None`` if the rehearsal does not confirm it."""
    rehearsed = statement.report is not None and statement.report.not_rehearsed is None
    if not rehearsed:
        # A rehearsal in a transaction cannot run CREATE INDEX CONCURRENTLY, for example: the text decides.
        certain = rule.basis != "measured" and hit.sure and not statement.inside
        # Unknown must not pass: what only a rehearsal can tell is reported if the text makes it likely.
        likely = statement.migration.rehearsal and rule.likely_by_text
        if not certain and likely and likely(hit, statement):
            return RuleMatch(rule, evolve(hit, message=f"{hit.message}{_UNREHEARSED}"), statement, "static")
        return RuleMatch(rule, hit, statement, "static") if certain else None
    if rule.basis == "static":
        return (
            None
            if statement.inside
            else RuleMatch(rule, hit, statement, "measured" if list_long_blocks(statement) else "static")
        )
    if is_confirmed(rule, hit, statement):
        # An empty table shows what happens, but not for how long: as far as it can, the text decides.
        without_rows = list_empty_blocks(statement) and not list_long_blocks(statement)
        basis: MatchBasis = "static" if rule.basis == "either" and without_rows else "measured"
        return RuleMatch(rule, _soften(rule, hit, statement), statement, basis)
    # The rehearsal contradicts the text. On an empty table it proves nothing, so there the text still counts.
    if rule.basis == "measured" or statement.inside or not hit.sure or not _is_empty(hit, statement, empty):
        return None
    return RuleMatch(rule, hit, statement, "static")


def _soften(rule: Rule, hit: Hit, statement: ParsedStatement) -> Hit:
    """Return the hit, as a warning if a rule about long blocks was confirmed on a table that nobody uses."""
    if (
        rule.basis == "measured"
        and rule.severity == "error"
        and rule.confirmed_by
        and not was_worked_on(hit, statement)
        and not any(is_in_use(statement, name) for name in list_worked_on(statement))
    ):
        return evolve(hit, severity="warning")
    return hit


def _is_empty(hit: Hit, statement: ParsedStatement, empty: Collection[str]) -> bool:
    """Return True if the rehearsal proves nothing because the relation had no rows."""
    worked = list_worked_on(statement)
    if worked and not list_long_blocks(statement):
        return True
    return hit.relation is not None and any(
        name == hit.relation or name.endswith(f".{hit.relation}") for name in empty
    )
