"""Apply ``-- confiture: ignore RULE reason="…"``, and report the ignores that suppress nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from attrs import define, field

from confiture.did_you_mean import did_you_mean
from confiture.exceptions import MigrationFault
from confiture.models.report import Finding
from confiture.rules.fingerprint import make_fingerprint
from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement
from confiture.rules.rule import Rule, Severity

UNUSED = "unused-ignore"
WITHOUT_REASON = "ignore-without-reason"


@define
class Suppressions:
    """The ignores of one migration, and the rules that found something in it.

    Attributes:
        migration: The migration.
        rules: The rules that were applied. An ignore of any other rule is never reported as unused.
        used: Rule and statement index of each hit.
    """

    migration: ParsedMigration
    rules: Sequence[Rule]
    used: set[tuple[str, int]] = field(factory=set)

    @property
    def has_any(self) -> bool:
        """True if the migration ignores any rule."""
        return bool(self.migration.ignores) or any(
            statement.ignores for statement in self.migration.statements
        )

    def note_match(self, rule: str, statement: ParsedStatement) -> None:
        """Note that a rule found something in a statement."""
        self.used.add((rule, statement.index))

    def suppresses(self, rule: str, statement: ParsedStatement) -> bool:
        """Return True if the statement, or its whole migration, ignores the rule."""
        return any(rule == ignore for ignore, _ in (*self.migration.ignores, *self._list_ignores(statement)))

    def _list_ignores(self, statement: ParsedStatement) -> tuple[tuple[str, str | None], ...]:
        # By index, because a statement inside a DO block has none: the ignores are those of the block.
        return self.migration.statements[statement.index].ignores if self.migration.statements else ()

    def find_findings(self, severities: Mapping[str, Severity], *, strict: bool) -> Iterator[Finding]:
        """Yield a finding for each ignore that suppresses nothing or, if ``strict``, has no reason."""
        known = {rule.id: rule for rule in self.rules}
        severity = severities.get(UNUSED, "warning")
        for rule_id, reason, statement in self._iterate_ignores():
            if rule_id in known and self._is_unused(known[rule_id], statement) and severity != "off":
                message = f"ignores {rule_id}, which finds nothing here"
                yield self._make_finding(UNUSED, severity, rule_id, statement, message)
            if strict and not (reason and reason.strip()):
                message = f'ignores {rule_id} without a reason: add reason="…"'
                yield self._make_finding(WITHOUT_REASON, "error", rule_id, statement, message)

    def _iterate_ignores(self) -> Iterator[tuple[str, str | None, ParsedStatement | None]]:
        for rule, reason in self.migration.ignores:
            yield rule, reason, None
        for statement in self.migration.statements:
            for rule, reason in statement.ignores:
                yield rule, reason, statement

    def _is_unused(self, rule: Rule, statement: ParsedStatement | None) -> bool:
        # Without a rehearsal such a rule finds nothing, so its silence says nothing about the ignore.
        if rule.basis == "measured" and not _is_all_rehearsed(self.migration):
            return False
        # Only `lint --schema` asks such a rule.
        if rule.judges_schema and self.migration.judged_schema is None:
            return False
        covered = [statement] if statement else self.migration.statements
        return not any((rule.id, inner.index) in self.used for inner in covered)

    def _make_finding(
        self, rule: str, severity: Severity, ignored: str, statement: ParsedStatement | None, message: str
    ) -> Finding:
        assert severity != "off"
        sql = statement.sql if statement else ""
        return Finding(
            rule=rule,
            severity=severity,
            migration=self.migration.version,
            file=self.migration.file,
            line=statement.line if statement else 1,
            relation=None,
            message=message,
            recipe=None,
            basis="static",
            ignored=False,
            fingerprint=make_fingerprint(rule, self.migration.file, f"{ignored} {sql}", 1),
        )


def _is_all_rehearsed(migration: ParsedMigration) -> bool:
    return all(
        statement.report is not None and not statement.report.not_rehearsed
        for statement in migration.statements
    )


def refuse_unknown(migrations: Iterable[ParsedMigration], known: Collection[str]) -> None:
    """Refuse an ignore that names an unknown rule: a misspelt one would suppress nothing.

    Raises:
        MigrationFault: A migration ignores a rule that does not exist.
    """
    for migration in migrations:
        for rule, line in _list_named_rules(migration):
            if rule not in known:
                near = did_you_mean(rule, known)
                raise MigrationFault(
                    f"{migration.file}:{line}: ignores the rule {rule!r}, which does not exist",
                    hint=f"{near} list all rules: confiture rules".strip(),
                )


def _list_named_rules(migration: ParsedMigration) -> Iterator[tuple[str, int]]:
    yield from ((rule, 1) for rule, _ in migration.ignores)
    for statement in migration.statements:
        yield from ((rule, statement.line) for rule, _ in statement.ignores)


RULES = (
    Rule(
        id=UNUSED,
        severity="warning",
        basis="static",
        summary="an ignore that suppresses nothing",
        effect="does nothing: the ignore is a comment",
        risk="readers believe that the statement is dangerous",
        remedy="remove the comment",
    ),
    Rule(
        id=WITHOUT_REASON,
        severity="error",
        basis="static",
        summary="an ignore without a reason, with --strict",
        effect="does nothing: the ignore is a comment",
        risk="nobody can check later whether the reason still holds",
        remedy='-- confiture: ignore RULE reason="the table is empty until March"',
    ),
)
