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
        reading: The migration.
        rules: Those that were asked.
        used: The rules that found something, with the statement's index.
    """

    reading: ParsedMigration
    rules: Sequence[Rule]
    used: set[tuple[str, int]] = field(factory=set)

    @property
    def has_any(self) -> bool:
        """Whether anything is ignored."""
        return bool(self.reading.ignores) or any(piece.ignores for piece in self.reading.pieces)

    def note_match(self, rule: str, piece: ParsedStatement) -> None:
        """Note that a rule has found something there."""
        self.used.add((rule, piece.index))

    def suppresses(self, rule: str, piece: ParsedStatement) -> bool:
        """Whether a rule is ignored there."""
        return any(rule == ignore for ignore, _ in (*self.reading.ignores, *self._list_ignores(piece)))

    def _list_ignores(self, piece: ParsedStatement) -> tuple[tuple[str, str | None], ...]:
        return self.reading.pieces[piece.index].ignores if self.reading.pieces else ()

    def find_findings(self, severities: Mapping[str, Severity], *, strict: bool) -> Iterator[Finding]:
        """Yield what is wrong with the ignores themselves."""
        known = {each.id: each for each in self.rules}
        severity = severities.get(UNUSED, "warning")
        for rule, reason, piece in self._iterate_ignores():
            if rule in known and self._is_unused(known[rule], piece) and severity != "off":
                message = f"ignores {rule}, which finds nothing here"
                yield self._make_finding(UNUSED, severity, rule, piece, message)
            if strict and not (reason and reason.strip()):
                message = f'ignores {rule} without a reason: add reason="…"'
                yield self._make_finding(WITHOUT_REASON, "error", rule, piece, message)

    def _iterate_ignores(self) -> Iterator[tuple[str, str | None, ParsedStatement | None]]:
        for rule, reason in self.reading.ignores:
            yield rule, reason, None
        for piece in self.reading.pieces:
            for rule, reason in piece.ignores:
                yield rule, reason, piece

    def _is_unused(self, rule: Rule, piece: ParsedStatement | None) -> bool:
        if rule.basis == "measured" and not _is_all_rehearsed(self.reading):
            return False
        wanted = [piece] if piece else self.reading.pieces
        return not any((rule.id, each.index) in self.used for each in wanted)

    def _make_finding(
        self, rule: str, severity: Severity, ignored: str, piece: ParsedStatement | None, message: str
    ) -> Finding:
        assert severity != "off"
        sql = piece.sql if piece else ""
        return Finding(
            rule=rule,
            severity=severity,
            migration=self.reading.version,
            file=self.reading.file,
            line=piece.line if piece else 1,
            relation=None,
            message=message,
            recipe=None,
            basis="static",
            ignored=False,
            fingerprint=make_fingerprint(rule, self.reading.file, f"{ignored} {sql}", 1),
        )


def _is_all_rehearsed(reading: ParsedMigration) -> bool:
    return all(piece.report is not None and not piece.report.not_rehearsed for piece in reading.pieces)


def refuse_unknown(readings: Iterable[ParsedMigration], known: Collection[str]) -> None:
    """Refuse an ignore of a rule that there is not.

    Raises:
        MigrationFault: There is one.
    """
    for reading in readings:
        for rule, line in _list_named_rules(reading):
            if rule not in known:
                near = did_you_mean(rule, known)
                raise MigrationFault(
                    f"{reading.file}:{line}: there is no rule {rule!r} to ignore",
                    hint=f"{near} all of them: confiture rules".strip(),
                )


def _list_named_rules(reading: ParsedMigration) -> Iterator[tuple[str, int]]:
    yield from ((rule, 1) for rule, _ in reading.ignores)
    for piece in reading.pieces:
        yield from ((rule, piece.line) for rule, _ in piece.ignores)


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
