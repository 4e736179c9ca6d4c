"""``-- confiture: ignore RULE reason="…"``: which rules are let pass, and which of them in vain."""

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
    """The ignores of one migration, and which rules they met.

    Attributes:
        migration: The migration.
        rules: Those that were asked.
        used: The rules that found something, with the statement's index.
    """

    migration: ParsedMigration
    rules: Sequence[Rule]
    used: set[tuple[str, int]] = field(factory=set)

    @property
    def has_any(self) -> bool:
        """Whether anything is ignored."""
        return bool(self.migration.ignores) or any(
            statement.ignores for statement in self.migration.statements
        )

    def note_match(self, rule: str, statement: ParsedStatement) -> None:
        """Note that a rule has found something there."""
        self.used.add((rule, statement.index))

    def suppresses(self, rule: str, statement: ParsedStatement) -> bool:
        """Whether a rule is ignored there."""
        return any(rule == ignore for ignore, _ in (*self.migration.ignores, *self._list_ignores(statement)))

    def _list_ignores(self, statement: ParsedStatement) -> tuple[tuple[str, str | None], ...]:
        return self.migration.statements[statement.index].ignores if self.migration.statements else ()

    def find_findings(self, severities: Mapping[str, Severity], *, strict: bool) -> Iterator[Finding]:
        """Yield what is wrong with the ignores themselves."""
        known = {each.id: each for each in self.rules}
        severity = severities.get(UNUSED, "warning")
        for rule, reason, ignore in self._iterate_ignores():
            if rule in known and self._is_unused(known[rule], ignore) and severity != "off":
                message = f"ignores {rule}, which finds nothing here"
                yield self._make_finding(UNUSED, severity, rule, ignore, message)
            if strict and not (reason and reason.strip()):
                message = f'ignores {rule} without a reason: add reason="…"'
                yield self._make_finding(WITHOUT_REASON, "error", rule, ignore, message)

    def _iterate_ignores(self) -> Iterator[tuple[str, str | None, ParsedStatement | None]]:
        for rule, reason in self.migration.ignores:
            yield rule, reason, None
        for statement in self.migration.statements:
            for rule, reason in statement.ignores:
                yield rule, reason, statement

    def _is_unused(self, rule: Rule, statement: ParsedStatement | None) -> bool:
        if rule.basis == "measured" and not _is_all_rehearsed(self.migration):
            return False
        wanted = [statement] if statement else self.migration.statements
        return not any((rule.id, inner.index) in self.used for inner in wanted)

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
    """Refuse an ignore of a rule that there is not.

    Raises:
        MigrationFault: There is one.
    """
    for migration in migrations:
        for rule, line in _list_named_rules(migration):
            if rule not in known:
                near = did_you_mean(rule, known)
                raise MigrationFault(
                    f"{migration.file}:{line}: there is no rule {rule!r} to ignore",
                    hint=f"{near} all of them: confiture rules".strip(),
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
        summary="an ignore that lets nothing pass",
        effect="nothing: it is a comment",
        risk="who reads it thinks that there is something to be careful of",
        remedy="take the comment out",
    ),
    Rule(
        id=WITHOUT_REASON,
        severity="error",
        basis="static",
        summary="an ignore without a reason, with --strict",
        effect="nothing: it is a comment",
        risk="nobody knows later whether the reason still holds",
        remedy='-- confiture: ignore RULE reason="the table is empty until March"',
    ),
)
