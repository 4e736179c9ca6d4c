"""Check the fields of rules, examples and hits when they are made: a plugin may pass anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# An id that an ignore comment can name.
_ID = re.compile(r"[A-Za-z][\w-]*")
_SEVERITIES = ("error", "warning", "info", "off")
_BASES = ("static", "measured", "either")
_TEXTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Rule": ("id", "summary", "effect", "risk"),
        "Example": ("schema", "dangerous"),
        "Hit": ("message",),
    }
)
_OPTIONAL_TEXTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"Rule": ("remedy", "plugin"), "Example": ("differs", "instead"), "Hit": ("relation", "part")}
)
_FLAGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"Rule": ("rehearsed_only",), "Example": ("transactional",), "Hit": ("sure",)}
)


def check_fields(value: Any) -> None:
    """Check the types of the fields that a rule, an example or a hit has.

    Raises:
        TypeError: A field has the wrong type.
    """
    kind = type(value).__name__
    for name in _TEXTS[kind]:
        _check_type(value, name, str)
    for name in _OPTIONAL_TEXTS[kind]:
        _check_type(value, name, str, type(None))
    for name in _FLAGS[kind]:
        _check_type(value, name, bool)


def check_rule(rule: Any) -> None:
    """Check a rule.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field has a value that there is not.
    """
    check_fields(rule)
    if not _ID.fullmatch(rule.id):
        raise ValueError(
            f"the rule's id is {rule.id!r}: an ignore comment can name letters, digits, - and _ only, "
            "and the first is a letter"
        )
    _check_choice(rule, "severity", _SEVERITIES)
    _check_choice(rule, "basis", _BASES)
    if rule.example is not None and type(rule.example).__name__ != "Example":
        kind = type(rule.example).__name__
        raise TypeError(f"{_name(rule)}example must be Example or None, not {kind}")
    for name in ("check", "check_migration", "check_schema", "confirmed_by"):
        given = getattr(rule, name)
        if given is not None and not callable(given):
            raise TypeError(f"{_name(rule)}{name} must be a function, not {type(given).__name__}")
    for name, such_as in (("kinds", "index_stmt"), ("subcommands", "AT_AddColumn"), ("needs", "cqrs.write")):
        given = getattr(rule, name)
        # A text is a sequence of texts too: its characters.
        if not isinstance(given, (tuple, list)) or not all(isinstance(item, str) for item in given):
            raise TypeError(f'{_name(rule)}{name} must be a tuple of names, such as ("{such_as}",)')


def check_hit(hit: Any) -> None:
    """Check a hit.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: There is no such severity.
    """
    check_fields(hit)
    if hit.severity is not None:
        _check_choice(hit, "severity", _SEVERITIES)
    if hit.recipe is not None and not isinstance(hit.recipe, str):
        from confiture.rules.recipes import Recipe

        _check_type(hit, "recipe", str, Recipe, type(None))
    # bool is an int too, and True would become line 1.
    if isinstance(hit.line, bool):
        raise TypeError("line must be int or None, not bool")
    _check_type(hit, "line", int, type(None))


def _check_type(value: Any, name: str, *kinds: type) -> None:
    given = getattr(value, name)
    if not isinstance(given, kinds):
        wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise TypeError(f"{_name(value)}{name} must be {wanted}, not {type(given).__name__}")


def _check_choice(value: Any, name: str, choices: tuple[str, ...]) -> None:
    given = getattr(value, name)
    if not isinstance(given, str) or given not in choices:
        shown = repr(given) if isinstance(given, str) else f"a {type(given).__name__}"
        raise ValueError(f"{_name(value)}{name} is {shown}; use one of {', '.join(choices)}")


def _name(value: Any) -> str:
    name = getattr(value, "id", None)
    return f"rule {name!r}: " if isinstance(name, str) else ""
