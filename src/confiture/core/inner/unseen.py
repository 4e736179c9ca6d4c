"""Locks that may have come and gone: what the text says, where no observer happened to look.

Locks that are taken in a block with EXCEPTION go when its subtransaction is rolled back, and LOCK,
TRUNCATE or DDL that fails fire no event trigger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from confiture.core.expected import Expected, expected_locks
from confiture.core.inner.inside import Inner, Inside
from confiture.models.report import NotSeen


def not_seen(found: Inside, seen: Collection[str] = (), function: str | None = None) -> tuple[NotSeen, ...]:
    """Return the locks that may have come and gone unobserved.

    ``seen`` are the relations on which some were observed; ``function`` is whose text it is.
    """
    guarded = (inner for inner in found.statements if inner.in_exception)
    return tuple(dict.fromkeys(each for inner in guarded for each in _missed(inner, seen, function)))


def _missed(inner: Inner, seen: Collection[str], function: str | None) -> Iterator[NotSeen]:
    place = ("" if inner.line is None else f" on line {inner.line}") + (f" of {function}" if function else "")
    if inner.sql is None:
        reason = f"{inner.reason}{place}; an EXCEPTION clause may have given its locks back"
        yield NotSeen(None, "locks of what runs inside", reason)
        return
    where = f"it stands{place} in a block with EXCEPTION, which may have given the lock back"
    for lock in expected_locks(inner.sql):
        name = _name(lock)
        if name is None:
            yield NotSeen(None, f"{lock.mode} on {lock.reason}", where)
        elif not any(each == name or each.endswith(f".{name}") for each in seen):
            yield NotSeen(name, lock.mode, where)


def _name(lock: Expected) -> str | None:
    if lock.relation is None:
        return None
    return ".".join(_quoted(each) for each in (lock.schema, lock.relation) if each)


def _quoted(name: str) -> str:
    plain = name.isascii() and name.isidentifier() and name == name.lower()
    return name if plain else '"' + name.replace('"', '""') + '"'
