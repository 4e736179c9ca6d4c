"""A rule as it is explained to a reader."""

from __future__ import annotations

from attrs import frozen


@frozen
class Explained:
    """A rule in words.

    Attributes:
        rule: Its id.
        severity: By default, or as configured.
        by: ``"S"``, ``"D"`` or ``"S+D"``.
        summary: One line.
        does: What PostgreSQL does.
        hurts: Why that hurts.
        schema: Of the example: what there is before.
        example: The migration that it warns of.
        recipe: What to write instead.
        way: What to do, where that is no SQL.
        differs: Why the recipe ends in another schema, where it does.
    """

    rule: str
    severity: str
    by: str
    summary: str
    does: str
    hurts: str
    schema: str | None = None
    example: str | None = None
    recipe: str | None = None
    way: str | None = None
    differs: str | None = None
