"""Apply a profile to a schema: every column classified, every rule compiled, or the copy is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve, frozen

from confiture.plugins.kit import did_you_mean
from confiture_anonymize.errors import ProfileFault, UnclassifiedFault
from confiture_anonymize.identity_groups import IdentityGroup, find_groups
from confiture_anonymize.keyed_hash import Key
from confiture_anonymize.personal_columns import may_be_personal, propose_rule, render_rule
from confiture_anonymize.profile import KEEP, ColumnRule, Profile, match_parts
from confiture_anonymize.source_schema import Column, ForeignKey, Table, quote
from confiture_anonymize.strategy import Mask, Masking, Promise, find_strategy

_LISTED = 40


@frozen
class ColumnPlan:
    """What becomes of one column.

    Attributes:
        column: The column.
        rule: The rule that decides; ``None`` for a column that cannot be personal.
        mask: What becomes of its values; ``None`` if they are kept.
        promise: What the mask promises of the original values.
        signature: What two columns that a foreign key joins must have in common.
    """

    column: Column
    rule: ColumnRule | None = None
    mask: Mask | None = None
    promise: Promise = "nowhere"
    signature: tuple[object, ...] = ("keep",)

    @property
    def keeps_distinct(self) -> bool:
        """True if different values are promised to stay different."""
        # With a condition, some values are kept, and may be what others become.
        return bool(self.mask and self.mask.distinct and not (self.rule and self.rule.when))

    @property
    def sql(self) -> str:
        """The expression to select in the source."""
        name = quote(self.column.name)
        if self.mask is None:
            return name
        if self.rule is not None and self.rule.when:
            return f"CASE WHEN ({self.rule.when}) THEN {self.mask.sql} ELSE {name} END"
        return self.mask.sql


@frozen
class TablePlan:
    """What becomes of one table.

    Attributes:
        table: The table.
        columns: Those that can be written.
        skipped: True if its rows are not copied.
    """

    table: Table
    columns: tuple[ColumnPlan, ...] = ()
    skipped: bool = False

    @property
    def masked(self) -> tuple[ColumnPlan, ...]:
        """The columns whose values change."""
        return tuple(column for column in self.columns if column.mask is not None)


def list_unclassified(tables: Sequence[Table], profile: Profile) -> tuple[tuple[Table, Column], ...]:
    """Return the columns that may hold personal data and that the profile says nothing about."""
    return tuple(
        (table, column)
        for table in tables
        if not profile.skips(table)
        for column in table.columns
        if may_be_personal(column) and profile.find_rule(table, column) is None
    )


def compile_plan(tables: Sequence[Table], profile: Profile, key: Key) -> tuple[TablePlan, ...]:
    """Return what becomes of every table.

    Raises:
        ProfileFault: The profile names what is not there, or a strategy does not fit.
        UnclassifiedFault: A column may hold personal data, and is not classified.
    """
    check_names(tables, profile)
    if unclassified := list_unclassified(tables, profile):
        raise refuse_unclassified(unclassified, profile.name)
    groups = find_groups(tables, profile)
    plans = tuple(_plan_table(table, profile, groups, key) for table in tables)
    _check_foreign_keys(plans)
    return plans


def refuse_unclassified(columns: Sequence[tuple[Table, Column]], profile: str) -> UnclassifiedFault:
    """Return the fault that lists columns with the lines to add, for the caller to raise."""
    names = tuple(f"{table.label}.{column.name}" for table, column in columns)
    lines = [render_rule(table.name, column, propose_rule(column)) for table, column in columns]
    more = [f"… and {len(lines) - _LISTED} more: confiture anonymize suggest"] if len(lines) > _LISTED else []
    listed = "\n  ".join((*lines[:_LISTED], *more))
    subject = f"{names[0]} may" if len(names) == 1 else f"{len(names)} columns may"
    return UnclassifiedFault(
        f"{subject} hold personal data, and the profile {profile!r} does not say what becomes of it",
        columns=names,
        hint=f"review and add to [anonymize.profiles.{profile}.columns]:\n  {listed}",
    )


def check_names(tables: Sequence[Table], profile: Profile) -> None:
    """Refuse a profile that names a table, a column or a strategy that is not there.

    Raises:
        ProfileFault: It has the nearest name that is there.
    """
    for rule in profile.rules:
        if not any(rule.matches(table, column) for table in tables for column in table.columns):
            known = [f"{table.name}.{column.name}" for table in tables for column in table.columns]
            raise _refuse_unknown(rule.options.label, "column", rule.pattern, known)
        if rule.strategy != KEEP:
            find_strategy(rule.strategy, rule.options)
    names = {table.name for table in tables}
    label = f"anonymize.profiles.{profile.name}"
    for pattern in profile.skip:
        if not any(match_parts(pattern, table.identity) for table in tables):
            raise _refuse_unknown(f"{label}.skip", "table", pattern, names)
    for pattern, columns in profile.quasi_identifiers.items():
        found = [table for table in tables if match_parts(pattern, table.identity)]
        if not found:
            raise _refuse_unknown(f"{label}.quasi_identifiers", "table", pattern, names)
        column_names = [column.name for column in found[0].columns]
        for name in columns:
            if name not in column_names:
                raise _refuse_unknown(f"{label}.quasi_identifiers.{pattern}", "column", name, column_names)


def _refuse_unknown(label: str, what: str, name: str, known: Sequence[str] | set[str]) -> ProfileFault:
    hint = did_you_mean(name, known) or f"correct the name, or remove the line: {name}"
    return ProfileFault(f"{label}: no {what} is called {name!r}", hint=hint)


def _plan_table(
    table: Table, profile: Profile, groups: Mapping[tuple[str, str, str], IdentityGroup], key: Key
) -> TablePlan:
    if profile.skips(table):
        return TablePlan(table, skipped=True)
    columns = (
        _plan_column(
            table, column, profile.find_rule(table, column), groups.get((*table.identity, column.name)), key
        )
        for column in table.columns
        if not column.generated
    )
    return TablePlan(table, tuple(columns))


def _plan_column(
    table: Table, column: Column, rule: ColumnRule | None, group: IdentityGroup | None, key: Key
) -> ColumnPlan:
    if rule is None or group is None:
        return ColumnPlan(column, rule)
    strategy = find_strategy(rule.strategy, rule.options)
    options = evolve(rule.options, keys=strategy.options)
    masking = Masking(table, group.tighten(column), rule.domain, options, key, _list_peers(group))
    if strategy.sorts and column.sort not in strategy.sorts:
        fits = ", ".join(sorted(strategy.sorts))
        raise masking.refuse(f"does not fit {rule.strategy}", hint=f"{rule.strategy} masks columns of {fits}")
    if column.unique and not strategy.keeps_unique:
        hint = "use hash, pattern or email, or keep it with a reason"
        raise masking.refuse(f"is unique, and {rule.strategy} makes different values alike", hint=hint)
    mask = strategy.compile(masking)
    if rule.when and mask.function is not None:
        raise masking.refuse(f"cannot be masked by {rule.strategy} with `when`", hint="leave out `when`")
    promise: Promise = "other" if rule.when else mask.promise or strategy.promise
    # Compiled again for a column of another name: what is left are the strategy, its options and the length.
    alike = strategy.compile(evolve(masking, column=evolve(masking.column, name="value")))
    signature = (rule.strategy, rule.domain, rule.when, alike.sql, alike.function)
    return ColumnPlan(column, rule, mask, promise, signature)


def _list_peers(group: IdentityGroup) -> str:
    shown = group.names[:3]
    return (
        f"{', '.join(shown)}{' …' if len(group.names) > len(shown) else ''}" if len(group.names) > 1 else ""
    )


def _check_foreign_keys(plans: Sequence[TablePlan]) -> None:
    by_identity = {plan.table.identity: plan for plan in plans}
    for plan in plans:
        if plan.skipped:
            continue
        for key in plan.table.foreign_keys:
            target = by_identity.get(key.target)
            if target is None:
                continue
            if target.skipped:
                raise ProfileFault(
                    f"{target.table.label} is skipped, and {plan.table.label} refers to it ({key.name})",
                    hint=f"skip {plan.table.name} too, or copy {target.table.name}",
                )
            for name, other in _list_torn(plan, key, target):
                raise ProfileFault(
                    f"{plan.table.label}.{name} refers to {target.table.label}.{other} ({key.name}), "
                    "and they are not masked alike",
                    hint="give both the same strategy, options and domain, or keep both",
                )


def _list_torn(plan: TablePlan, key: ForeignKey, target: TablePlan) -> Iterator[tuple[str, str]]:
    ours: Mapping[str, ColumnPlan] = {column.column.name: column for column in plan.columns}
    theirs: Mapping[str, ColumnPlan] = {column.column.name: column for column in target.columns}
    for name, other in zip(key.columns, key.target_columns, strict=True):
        if name in ours and other in theirs and ours[name].signature != theirs[other].signature:
            yield name, other
