"""The figures: what came of all cases, what is to be reached, and whether it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from attrs import frozen

from tests.accuracy.compare import Outcome

LONG = 0.98
DECLARED_IN = 50


@frozen
class Figure:
    """One line of the table.

    Attributes:
        name: What it tells.
        reached: As it is printed.
        wanted: What it is to be, as it is printed.
        good: Whether it is.
    """

    name: str
    reached: str
    wanted: str
    good: bool


def compute_figures(outcomes: Sequence[Outcome], *, part: bool = False) -> tuple[Figure, ...]:
    """Return the figures of these outcomes, which are of a part of the cases only or of all."""
    return (
        *_compute_lock_figures(outcomes, part),
        *(_build_none_wrong(outcomes, name, {name}) for name in ("rewrites", "builds", "scans")),
        _build_none_wrong(outcomes, "blocks", {"blocks reads", "blocks writes"}),
        _build_none_wrong(
            outcomes,
            "blocks, really tried",
            {"really blocks reads", "really blocks writes"},
            lambda outcome: outcome.tried,
        ),
        *_compute_long_figures(outcomes),
        _build_none_wrong(outcomes, "errors and refusals", {"error", "refused"}),
        _build_none_wrong(outcomes, "all as before", {"afterwards"}),
    )


def _compute_lock_figures(outcomes: Sequence[Outcome], part: bool) -> tuple[Figure, ...]:
    true, found, reported, declared = (
        sum(getattr(outcome, name) for outcome in outcomes)
        for name in ("true_locks", "found_locks", "said_locks", "declared")
    )
    # One case in 50; a part that has fewer may have one of them.
    most = max(int(part), len(outcomes) // DECLARED_IN)
    return (
        Figure("locks: recall", _format_share(found, true), "1.00", found == true),
        Figure("locks: precision", _format_share(found, reported), "1.00", found == reported),
        Figure(
            "locks: cases with some not seen",
            f"{declared} of {len(outcomes)}",
            f"{most} at most",
            declared <= most,
        ),
    )


def _compute_long_figures(outcomes: Sequence[Outcome]) -> tuple[Figure, ...]:
    counts = Counter(outcome.long for outcome in outcomes if outcome.long is not None)
    right, missed, made_up = counts[True, True], counts[True, False], counts[False, True]
    return (
        _build_minimum("long block: recall", right, right + missed),
        _build_minimum("long block: precision", right, right + made_up),
    )


def _build_minimum(name: str, part: int, whole: int) -> Figure:
    return Figure(name, _format_share(part, whole), f"{LONG:.2f} at least", part >= LONG * whole)


def _format_share(part: int, whole: int) -> str:
    return f"{part / whole if whole else 1:.3f} ({part} of {whole})"


def _count_every_outcome(_: Outcome) -> bool:
    return True


def _build_none_wrong(
    outcomes: Sequence[Outcome],
    name: str,
    names: set[str],
    counted: Callable[[Outcome], bool] = _count_every_outcome,
) -> Figure:
    among = [outcome for outcome in outcomes if counted(outcome)]
    wrong = sum(any(fault.figure in names for fault in outcome.wrong) for outcome in among)
    return Figure(name, f"{wrong} of {len(among)} cases wrong", "0", wrong == 0)


def render_table(title: str, lines: Sequence[Figure]) -> str:
    """Return the figures as words under each other."""
    widths = [
        max(len(word) for word in column)
        for column in zip(*((f.name, f.reached) for f in lines), strict=True)
    ]
    rows = [
        f"  {'  ' if line.good else '! '}{line.name:<{widths[0]}}  {line.reached:<{widths[1]}}  to reach: {line.wanted}"
        for line in lines
    ]
    return "\n".join([title, *rows])
