"""Compare two schemas object by object, as unified diffs of their canonical DDL."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from confiture.models.schema import Change, ObjectDifference, SchemaObject


def compare_schemas(
    before: Iterable[SchemaObject],
    after: Iterable[SchemaObject],
    *,
    before_label: str = "before",
    after_label: str = "after",
) -> tuple[ObjectDifference, ...]:
    """Return the objects that differ, sorted by kind and name; the labels are in the diffs' headers."""
    first = {(item.kind, item.identity): item.ddl for item in before}
    second = {(item.kind, item.identity): item.ddl for item in after}
    return tuple(
        _describe(key, first.get(key), second.get(key), before_label, after_label)
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    )


def _describe(
    key: tuple[str, str], before: str | None, after: str | None, before_label: str, after_label: str
) -> ObjectDifference:
    kind, identity = key
    change: Change = "added" if before is None else "removed" if after is None else "changed"
    # A header is one line, also of a table whose name has two.
    title = f"{kind} {identity}".replace("\n", "\\n")
    lines = difflib.unified_diff(
        _split(before),
        _split(after),
        f"{before_label}: {title}",
        f"{after_label}: {title}",
        lineterm="",
    )
    return ObjectDifference(kind, identity, change, "\n".join(lines))


def _split(ddl: str | None) -> list[str]:
    # Not splitlines(): a form feed or another separator inside a function's body ends no line.
    return ddl.rstrip("\n").split("\n") if ddl is not None else []
