"""The tables of cases, and the truth of one on one version of PostgreSQL."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

DATA = Path(__file__).parents[1] / "data"
TABLES = ("locks.tsv", "locks_more.tsv")
STRONG = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")

_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")


@frozen
class Facts:
    """What a migration does, told or seen.

    Attributes:
        locks: Share or stronger on tables, views and indexes that existed before, by relation.
        builds: An index's name where it was rebuilt, ``new@table`` where one has a new oid.
        long: Whether something populated is read or built from end to end while it is blocked.
        transient: The relations whose lock was gone before the end.
        error: SQLSTATE and message, where it fails.
    """

    locks: Mapping[str, str] = field(factory=dict)
    rewrites: frozenset[str] = frozenset()
    builds: frozenset[str] = frozenset()
    scans: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    long: bool = False
    transient: frozenset[str] = frozenset()
    error: str | None = None


@frozen
class Case:
    """One row of a table."""

    id: str
    mode: str
    setup: str
    migration: str
    row: Mapping[str, str]

    def truth(self, major: int) -> Facts | None:
        """Return what is true on this version, ``None`` where nobody has looked."""
        if str(major) in self.row["agrees_on_pg"].split(","):
            return _build_facts(self.row)
        differs = dict(_parse_differences(self.row["pg_diffs"]))
        return _apply_differences(_build_facts(self.row), differs[major]) if major in differs else None


def read_cases(*tables: str) -> tuple[Case, ...]:
    """Return the cases of these tables, of all that there are without a name."""
    return tuple(case for name in tables or TABLES if (DATA / name).exists() for case in read_table(name))


def read_table(name: str) -> tuple[Case, ...]:
    """Return the cases of one table."""
    head, *lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    columns = head.split("\t")
    rows = (dict(zip(columns, line.split("\t"), strict=True)) for line in lines)
    return tuple(Case(row["id"], row["txmode"], row["setup_sql"], row["migration_sql"], row) for row in rows)


def spell_name(name: str) -> str:
    """Return a relation as a report spells it: with its schema, quoted only where PostgreSQL would."""
    schema, dot, relation = name.rpartition(".")
    return f"{_quote(schema if dot else 'public')}.{_quote(relation)}"


def _quote(word: str) -> str:
    return word if _PLAIN.fullmatch(word) else '"' + word.replace('"', '""') + '"'


def _build_facts(row: Mapping[str, str]) -> Facts:
    transient = _parse_modes(_parse_list(row["transient_only_locks"]))
    locks = {
        **_parse_modes(_parse_list(row["locks_on_tables"])),
        **_parse_modes(_parse_list(row["locks_on_indexes"])),
    }
    return Facts(
        locks=select_strong({**transient, **locks}),
        rewrites=_spell_names(_parse_list(row["rewrite"].removeprefix("yes:"))),
        builds=parse_builds(_parse_list(row["index_rebuilt_or_built_on"])),
        scans=_spell_names(_parse_list(row["full_scan_of"])),
        reads=_spell_names(_parse_list(row["blocks_reads_of"])),
        writes=_spell_names(_parse_list(row["blocks_writes_of"])),
        long=row["long_block"] == "yes",
        transient=frozenset(transient),
        error=None if row["error"] == "-" else row["error"],
    )


def select_strong(modes: Mapping[str, str]) -> dict[str, str]:
    """Return those of Share or stronger."""
    return {relation: mode for relation, mode in modes.items() if mode in STRONG}


def parse_builds(words: Iterable[str]) -> frozenset[str]:
    """Return the builds with every name spelled out."""
    return frozenset(
        f"new@{spell_name(word[4:])}" if word.startswith("new@") else spell_name(word) for word in words
    )


def _parse_list(text: str) -> list[str]:
    return [] if text in ("none", "no", "-") else text.split(",")


def _spell_names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(spell_name(name) for name in names)


def _parse_modes(words: Iterable[str]) -> dict[str, str]:
    pairs = (word.rpartition(":") for word in words)
    return {spell_name(name): mode for name, _, mode in pairs}


def _parse_differences(text: str) -> Iterable[tuple[int, dict[str, Any]]]:
    """Read ``14:tables={}/br=[]/error=… ; 15:…``."""
    for difference in [] if text == "-" else text.split(" ; "):
        major, _, rest = difference.partition(":")
        parts = (part.partition("=") for part in re.split(r"/(?=[a-z]+=)", rest))
        yield int(major), {key: value if key == "error" else _parse_literal(value) for key, _, value in parts}


def _parse_literal(text: str) -> Any:
    return ast.literal_eval(text)


_LISTS = {"rewrite": "rewrites", "scan": "scans", "br": "reads", "bw": "writes"}


def _apply_differences(facts: Facts, differs: Mapping[str, Any]) -> Facts:
    """Return the facts with what differs on a version put in."""
    changes: dict[str, Any] = {
        field: _spell_names(differs[key]) for key, field in _LISTS.items() if key in differs
    }
    if "error" in differs:
        changes["error"] = None if differs["error"] == "-" else differs["error"]
    if "builds" in differs:
        changes["builds"] = parse_builds(differs["builds"])
    if "long" in differs:
        changes["long"] = differs["long"]
    if "tables" in differs:
        # A difference tells all the locks anew, those on indexes under a key of their own.
        named = {**differs["tables"], **differs.get("indexes", {}), **differs.get("transient", {})}
        changes["locks"] = select_strong({spell_name(name): mode for name, mode in named.items()})
        changes["transient"] = frozenset(spell_name(name) for name in differs.get("transient", {}))
    if changes.get("error"):
        return Facts(error=changes["error"])
    return evolve(facts, **changes)
