"""Ignore findings about a schema: by the configuration, or by a comment on the object."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from confiture.did_you_mean import did_you_mean
from confiture.exceptions import ConfigurationFault
from confiture.rules.rule import Hit, Rule
from confiture.rules.suppressions import UNUSED, WITHOUT_REASON

if TYPE_CHECKING:
    from confiture.config.schema_policy import IgnoredObject
    from confiture.schema.judged_schema import JudgedSchema

_IGNORE = re.compile(r"confiture:\s*ignore\s+([\w-]+(?:\s*,\s*[\w-]+)*)(?:\s+reason=\"([^\"]*)\")?")


@frozen
class SchemaIgnore:
    """One rule that is ignored for some objects.

    Attributes:
        rule: The rule.
        pattern: The objects; ``None`` for an ignore in a comment, which is about the object itself.
        relation: The object with the comment, as reports spell it; ``None`` for one of the configuration.
        part: The column with the comment.
        reason: Why; ``None`` if nobody says.
    """

    rule: str
    pattern: str | None = None
    relation: str | None = None
    part: str | None = None
    reason: str | None = None

    def covers(self, rule: str, hit: Hit) -> bool:
        """Return True if it ignores what the rule found."""
        if rule != self.rule or hit.relation is None:
            return False
        if self.pattern is not None:
            return any(fnmatchcase(name, self.pattern) for name in _list_spellings(hit))
        return hit.relation == self.relation and self.part in (None, hit.part)


def _list_spellings(hit: Hit) -> Iterator[str]:
    """Yield how a pattern may name the object of a hit: with and without schema, arguments and part."""
    rel = hit.relation or ""
    without_arguments = rel.partition("(")[0]
    bare = without_arguments.rpartition(".")[2]
    for name in (rel, without_arguments, bare):
        yield name
        if hit.part:
            yield f"{name}.{hit.part}"


@define
class SchemaIgnores:
    """All ignores of a schema, and those that were of use.

    Attributes:
        ignores: The ignores.
        applied: The rules that were applied: an ignore of any other is never unused.
        used: The ignores that covered a hit.
    """

    ignores: tuple[SchemaIgnore, ...]
    applied: Collection[str] = ()
    used: set[SchemaIgnore] = field(factory=set)

    def covers(self, rule: str, hit: Hit) -> bool:
        """Return True if what the rule found is ignored."""
        covering = [ignore for ignore in self.ignores if ignore.covers(rule, hit)]
        self.used.update(covering)
        return bool(covering)

    def find_hits(self, *, strict: bool) -> Iterator[tuple[str, Hit]]:
        """Yield rule and hit for each ignore that covers nothing or, if ``strict``, has no reason."""
        for ignore in self.ignores:
            where = ignore.relation or f"the configuration, for {ignore.pattern}"
            if ignore.rule in self.applied and ignore not in self.used:
                message = f"{where}: ignores {ignore.rule}, which finds nothing here"
                yield UNUSED, Hit(message, ignore.relation, part=f"{ignore.rule} {ignore.pattern}")
            if strict and not (ignore.reason and ignore.reason.strip()):
                message = f"{where}: ignores {ignore.rule} without a reason"
                yield WITHOUT_REASON, Hit(message, ignore.relation, part=f"{ignore.rule} {ignore.pattern}")


def collect_ignores(schema: JudgedSchema, rules: Iterable[Rule]) -> tuple[SchemaIgnore, ...]:
    """Return the ignores of the configuration and of all comments.

    Raises:
        ConfigurationFault: One names a rule that does not exist.
    """
    known = [rule.id for rule in rules]
    found = (*map(_read_configured, schema.policy.ignore), *_list_commented(schema))
    for ignore in found:
        if ignore.rule not in known:
            where = f"the comment on {ignore.relation}" if ignore.relation else "[schema] ignore"
            raise ConfigurationFault(
                f"{where} names the rule {ignore.rule!r}, which does not exist",
                hint=f"{did_you_mean(ignore.rule, known)} list all rules: confiture rules".strip(),
            )
    return found


def _read_configured(ignored: IgnoredObject) -> SchemaIgnore:
    return SchemaIgnore(ignored.rule, pattern=ignored.pattern, reason=ignored.reason)


def _list_commented(schema: JudgedSchema) -> Iterator[SchemaIgnore]:
    for relation in schema.relations:
        yield from _read_comment(relation.comment, relation.rel, None)
        for column in relation.columns:
            yield from _read_comment(column.comment, relation.rel, column.name)
    for function in schema.functions:
        yield from _read_comment(function.comment, function.rel, None)


def _read_comment(comment: str | None, relation: str, part: str | None) -> Iterator[SchemaIgnore]:
    for found in _IGNORE.finditer(comment or ""):
        for rule in re.split(r"\s*,\s*", found[1]):
            yield SchemaIgnore(rule, relation=relation, part=part, reason=found[2])
