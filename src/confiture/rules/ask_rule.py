"""Call the functions of a rule, and check what they give: a plugin's may raise or return anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from confiture.exceptions import PluginFault, describe_error
from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement
from confiture.rules.rule import Hit, Rule

if TYPE_CHECKING:
    from confiture.schema.judged_schema import JudgedSchema

Asked = TypeVar("Asked", ParsedStatement, ParsedMigration, "JudgedSchema")


def find_hits(
    rule: Rule, check: Callable[[Asked], Iterable[Hit]] | None, asked: Asked, place: str
) -> list[Hit]:
    """Return the hits of a rule in the statement, migration or schema at ``place``.

    Raises:
        PluginFault: The function raises an error, or gives something other than hits.
    """
    if check is None:
        return []
    try:
        given = check(asked)
        hits = [] if given is None else list(given)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _build_failure(rule, check, f"failed at {place}", error) from error
    if isinstance(given, str):
        raise _build_wrong_type(rule, check, f"returned a str at {place}, not hits")
    for hit in hits:
        if not isinstance(hit, Hit):
            raise _build_wrong_type(rule, check, f"gave a {type(hit).__name__} at {place}, not a Hit")
    return hits


def is_confirmed(rule: Rule, hit: Hit, statement: ParsedStatement) -> bool:
    """Return True if the rehearsal shows what the hit says, or if the rule leaves that to the text.

    Raises:
        PluginFault: The rule's function raises an error.
    """
    if rule.confirmed_by is None:
        return True
    try:
        return bool(rule.confirmed_by(hit, statement))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        place = f"{statement.migration.file}:{statement.line}"
        what = f"failed at {place}, in confirmed_by,"
        raise _build_failure(rule, rule.confirmed_by, what, error) from error


# Imported in these functions, because plugins are slow to import, and lint starts for each commit.


def _build_failure(
    rule: Rule, function: Callable[..., object], what: str, error: BaseException
) -> PluginFault:
    from confiture.plugins.check import locate_error, locate_function

    # The function's result may fail here and not in its own code: a number has no elements.
    where = locate_error(error) or locate_function(function)
    return _build_fault(rule, f"{what} with {describe_error(error)}{where}")


def _build_wrong_type(rule: Rule, check: Callable[..., object], what: str) -> PluginFault:
    from confiture.plugins.check import locate_function

    return _build_fault(rule, f"{what}{locate_function(check)}")


def _build_fault(rule: Rule, what: str) -> PluginFault:
    owner = f" of plugin {rule.plugin!r}" if rule.plugin else ""
    return PluginFault(
        f"the rule {rule.id}{owner} {what}",
        hint=f'to switch the rule off, configure severity = {{{rule.id} = "off"}}',
    )
