"""Told against true: every wrong answer, named, and the counts that the figures are made of."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from tests.accuracy.cases import Case, Facts
from tests.accuracy.live import Waiting
from tests.accuracy.rehearse_case import Answer

# The whole of these is compared: a name too much is as wrong as one that is missing.
SETS = ("rewrites", "builds", "scans")


@frozen
class Wrong:
    """One wrong answer."""

    case: str
    place: str
    figure: str
    expected: str
    got: str

    def __str__(self) -> str:
        where = "" if self.place == "transaction" else f" in {self.place}"
        return f"{self.case}{where}: {self.figure}: expected {self.expected}, got {self.got}"


@frozen
class Outcome:
    """What came of one case in one place.

    Attributes:
        true_locks: How many there are, less those declared not seen.
        found_locks: How many of them were reported with their mode.
        said_locks: How many were reported at all.
        undeclared: Whether everything about locks was seen.
        long: What is true, and what was said of the long block.
    """

    case: str
    place: str
    wrong: tuple[Wrong, ...]
    true_locks: int = 0
    found_locks: int = 0
    said_locks: int = 0
    declared: bool = False
    long: tuple[bool, bool] | None = None
    refused: str | None = None
    tried: bool = False


def compare(case: Case, truth: Facts, answer: Answer, real: Waiting | None) -> Outcome:
    """Compare what was said of a case with what is true of it."""
    unequal = _find_unequal(case, answer)
    if answer.refused:
        return _build_refused(case, truth, answer, unequal)
    facts = answer.facts
    hidden = {name for name, what in answer.not_seen if what != "scans"}
    true = {lock for lock in truth.locks.items() if not ({None, lock[0]} & hidden)}
    reported = set(facts.locks.items())
    return Outcome(
        case.id,
        answer.place,
        (
            *unequal,
            *_build_difference(
                case,
                answer,
                "locks",
                _join_words(true - reported),
                _join_words(reported - set(truth.locks.items())),
            ),
            *_compare_sets(case, truth, answer),
            *_compare_blocks(case, truth, answer, real),
            *_compare_long_block(case, truth, answer),
            *_compare_errors(case, truth, answer),
        ),
        true_locks=len(true),
        found_locks=len(true & reported),
        said_locks=len(reported),
        declared=bool(hidden),
        long=(truth.long, facts.long),
        tried=real is not None,
    )


def _build_refused(case: Case, truth: Facts, answer: Answer, unequal: tuple[Wrong, ...]) -> Outcome:
    """Nothing ran: right where the migration is faulty, by the server's word or by our contract."""
    faulty = truth.error or case.mode == "own" or _controls_transactions(case)
    wrong = () if faulty else _build_difference(case, answer, "refused", "a rehearsal", answer.refused or "")
    return Outcome(case.id, answer.place, (*unequal, *wrong), refused=answer.refused)


def _controls_transactions(case: Case) -> bool:
    words = {line.split()[0].upper() for line in case.migration.split(";") if line.split()}
    return bool(words & {"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "START", "END", "ABORT"})


def _compare_sets(case: Case, truth: Facts, answer: Answer) -> Iterable[Wrong]:
    unseen = {what for _, what in answer.not_seen}
    for name in SETS:
        expected, got = getattr(truth, name), getattr(answer.facts, name)
        if expected != got and name not in unseen:
            yield from _build_difference(case, answer, name, _join_words(expected), _join_words(got))


def _compare_blocks(case: Case, truth: Facts, answer: Answer, real: Waiting | None) -> Iterable[Wrong]:
    # What is locked for a moment blocks for a moment: whoever looks at the end does not see it.
    brief = truth.transient | answer.facts.transient
    for name in ("reads", "writes"):
        reported = getattr(answer.facts, name) - brief
        expected = getattr(truth, name) - brief
        if reported != expected:
            yield from _build_difference(
                case, answer, f"blocks {name}", _join_words(expected), _join_words(reported)
            )
        if real is not None and reported != getattr(real, name) - brief:
            waited = _join_words(getattr(real, name) - brief)
            yield from _build_difference(case, answer, f"really blocks {name}", waited, _join_words(reported))


def _compare_long_block(case: Case, truth: Facts, answer: Answer) -> tuple[Wrong, ...]:
    if truth.long == answer.facts.long:
        return ()
    return _build_difference(case, answer, "long block", str(truth.long), str(answer.facts.long))


def _compare_errors(case: Case, truth: Facts, answer: Answer) -> tuple[Wrong, ...]:
    expected, got = (error.split()[0] if error else "none" for error in (truth.error, answer.facts.error))
    return _build_difference(case, answer, "error", expected, got) if expected != got else ()


def _find_unequal(case: Case, answer: Answer) -> tuple[Wrong, ...]:
    if not answer.unequal:
        return ()
    return _build_difference(case, answer, "afterwards", "all as before", _join_words(answer.unequal))


def _build_difference(case: Case, answer: Answer, figure: str, expected: str, got: str) -> tuple[Wrong, ...]:
    if figure == "locks" and expected == got == "none":
        return ()
    return (Wrong(case.id, answer.place, figure, expected, got),)


def _join_words(things: Iterable[object]) -> str:
    words = sorted(" ".join(thing) if isinstance(thing, tuple) else str(thing) for thing in things)
    return ", ".join(words) or "none"
