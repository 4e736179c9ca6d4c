"""Rules of the comments that let other rules pass; ``ignoring`` finds them itself."""

from __future__ import annotations

from confiture.rules.ignoring import UNUSED, WITHOUT_REASON
from confiture.rules.rule import Rule

RULES = (
    Rule(
        id=UNUSED,
        severity="warning",
        by="S",
        summary="an ignore that lets nothing pass",
        does="nothing: it is a comment",
        hurts="who reads it thinks that there is something to be careful of",
        way="take the comment out",
    ),
    Rule(
        id=WITHOUT_REASON,
        severity="error",
        by="S",
        summary="an ignore without a reason, with --strict",
        does="nothing: it is a comment",
        hurts="nobody knows later whether the reason still holds",
        way='-- confiture: ignore RULE reason="the table is empty until March"',
    ),
)
