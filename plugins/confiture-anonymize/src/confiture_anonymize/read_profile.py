"""Read ``[tool.confiture.anonymize.profiles.NAME]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import evolve

from confiture.plugins.kit import POSITIVE, TEXT, TEXTS, TableReader, did_you_mean
from confiture_anonymize.errors import ProfileFault
from confiture_anonymize.profile import DEFAULT_DOMAIN, KEEP, ColumnRule, Profile

CONFIG_KEYS = {"profiles": "The profiles of anonymized copies, by name: [anonymize.profiles.NAME]."}
PROFILE_KEYS = {
    "extends": "The profile whose rules hold where this one has none.",
    "columns": 'What becomes of each column: "table.column" = "strategy".',
    "skip": "Tables whose rows are not copied.",
    "quasi_identifiers": "By table, the columns that together must not single out a person.",
    "k": "The smallest group of rows with the same quasi-identifiers.",
}
RULE_KEYS = {
    "strategy": "What becomes of the values.",
    "domain": "The identity domain, within which the same value gets the same pseudonym.",
    "when": "A condition in SQL; where it is not true, the value is kept.",
    "reason": "Why values are kept.",
}


def read_profile(config: Mapping[str, Any], name: str) -> Profile:
    """Return a profile with the rules of those that it extends.

    Raises:
        ProfileFault: There is none of this name, it extends itself, or it cannot be used.
    """
    return _read_profile(_list_readers(config), name, ())


def read_profiles(config: Mapping[str, Any]) -> tuple[Profile, ...]:
    """Return all profiles.

    Raises:
        ProfileFault: One cannot be used.
    """
    readers = _list_readers(config)
    return tuple(_read_profile(readers, name, ()) for name in readers)


def _list_readers(config: Mapping[str, Any]) -> dict[str, TableReader]:
    table = TableReader(
        config,
        CONFIG_KEYS,
        label="anonymize",
        locate=getattr(config, "locate", None),
        path=("plugin", "anonymize"),
        fault=ProfileFault,
    )
    return table.check_keys(also=("on_failure", "retry")).get_named_tables("profiles", PROFILE_KEYS)


def _read_profile(readers: Mapping[str, TableReader], name: str, extended_by: tuple[str, ...]) -> Profile:
    if name not in readers:
        raise _refuse_name(readers, name, extended_by)
    if name in extended_by:
        circle = " extends ".join((*extended_by, name))
        raise ProfileFault(f"the profile {name!r} extends itself: {circle}", hint="remove one `extends`")
    table = readers[name]
    own = Profile(
        name,
        tuple(_read_rules(table)),
        table.get("skip", TEXTS, ()),
        table.get_mapping("quasi_identifiers", TEXTS_OF_TABLE),
        table.get("k", POSITIVE, 2),
        table,
    )
    parent = table.get("extends", TEXT, None)
    if parent is None:
        return own
    return _extend(own, _read_profile(readers, parent, (*extended_by, name)))


TEXTS_OF_TABLE = evolve(TEXTS, expected="a list of columns", example='["birth_date", "postcode"]')


def _extend(own: Profile, parent: Profile) -> Profile:
    patterns = {rule.pattern for rule in own.rules}
    inherited = tuple(rule for rule in parent.rules if rule.pattern not in patterns)
    return evolve(
        own,
        rules=own.rules + inherited,
        skip=tuple(dict.fromkeys((*own.skip, *parent.skip))),
        quasi_identifiers={**parent.quasi_identifiers, **own.quasi_identifiers},
        k=own.k if "k" in own.reader.values else parent.k,
    )


def _refuse_name(readers: Mapping[str, TableReader], name: str, extended_by: tuple[str, ...]) -> ProfileFault:
    where = f", which {extended_by[-1]!r} extends" if extended_by else ""
    known = f"the profiles are {', '.join(readers)}" if readers else "write one: confiture anonymize suggest"
    return ProfileFault(f"there is no profile {name!r}{where}", hint=did_you_mean(name, readers) or known)


def _read_rules(table: TableReader) -> Iterator[ColumnRule]:
    written = table.values.get("columns", {})
    if not isinstance(written, Mapping):
        raise table.refuse("columns", "must be a table", hint='write "table.column" = "strategy"')
    columns = evolve(
        table, values=written, keys=dict.fromkeys(written, ""), label=f"{table.label}.columns",
        path=(*table.path, "columns"),
    )  # fmt: skip
    for pattern, value in written.items():
        if len(pattern.split(".")) not in (2, 3):
            raise columns.refuse(pattern, "is no column", hint="write table.column or schema.table.column")
        yield _read_rule(columns, pattern, value)


def _read_rule(columns: TableReader, pattern: str, value: object) -> ColumnRule:
    if isinstance(value, str):
        value = {"strategy": value}
    if not isinstance(value, Mapping):
        hint = 'write "strategy", or { strategy = "…", … }'
        raise columns.refuse(pattern, "must be the name of a strategy, or a table", hint=hint)
    rule = evolve(
        columns, values=value, keys=RULE_KEYS, label=columns.name_key(pattern), path=(*columns.path, pattern)
    )
    strategy = rule.require("strategy", TEXT)
    reason, when = rule.get("reason", TEXT, None), rule.get("when", TEXT, None)
    if reason is None and (strategy == KEEP or when):
        raise rule.refuse("reason", "is missing", hint='say why values are kept: reason = "…"')
    options = {key: value[key] for key in value if key not in RULE_KEYS}
    return ColumnRule(
        pattern,
        strategy,
        evolve(rule, values=options, keys={}),
        rule.get("domain", TEXT, DEFAULT_DOMAIN),
        when,
        reason,
    )
