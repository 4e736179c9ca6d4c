"""Looks that travel with a guard's own messages, so that hooks cost no more round trips in a rehearsal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

if TYPE_CHECKING:
    from confiture.rehearsal.trace.snapshot import Look
    from confiture.rehearsal.trace.steps import Step
    from confiture.rehearsal.trace.trace import Trace

Results = list[list[tuple[Any, ...]]]


@define
class Beside:
    """What a guard asks for beside its own; nothing in a run.

    Attributes:
        trace: Looks on, in a rehearsal.
        steps: What each hook did, in the order in which they ended.
    """

    trace: Trace | None = None
    steps: list[Step] = field(factory=list)
    _looks: list[Look] = field(factory=list)

    @property
    def sql(self) -> str:
        """SQL that looks, to be sent with a message; its answers are taken by ``own``."""
        if self.trace is None:
            return ""
        from confiture.rehearsal.trace.snapshot import LOOK

        return f"{LOOK};"

    def now_ms(self) -> float:
        """Return the time on the trace's clock."""
        return self.trace.now_ms() if self.trace else 0.0

    def own(self, results: Results, looks: int = 1) -> Results:
        """Keep the answers to so many looks at the end of these, and return the guard's own."""
        if self.trace is None:
            return results
        from confiture.rehearsal.trace.snapshot import answered

        first = len(results) - 2 * looks
        self._looks += [answered(results[at : at + 2]) for at in range(first, len(results), 2)]
        return results[:first]

    def note(self, since_ms: float) -> None:
        """Note what a hook did that began then, by the looks kept since the last."""
        looks, self._looks = self._looks, []
        if self.trace:
            self.steps.append(self.trace.after_hook(since_ms, looks))
