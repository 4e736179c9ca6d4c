"""Build docs/api.md from the docstrings of everything public: ``make docs``."""

from __future__ import annotations

import ast
import enum
import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from build_hooks import RUNNERS, doc_of

from confiture.plugins.kit import Kind

PAGE = Path(__file__).with_name("api.md")
# Everything public, and for whom. To publish a module, add a line.
MODULES = {
    "confiture": "What a plugin imports.",
    "confiture.core": "What an application imports.",
    "confiture.models.migration": "What a migration file in Python imports, and what a file is read into.",
    "confiture.models.report": "What a run, a rehearsal or `lint` reports; a reporter gets a `Report`.",
    "confiture.rules.rule": "What the hook `rules` returns.",
    "confiture.rules.parsed_migration": "What a rule gets.",
    "confiture.schema.judged_schema": "What a rule about schemas gets.",
    "confiture.schema.schema_catalog": "The schema in it.",
    "confiture.output.reporters": "What the hook `reporters` returns, and what a reporter gets.",
    "confiture.plugins.kit": "What a plugin imports for its settings, its files and its SQL.",
    "confiture.exceptions": "What Confiture raises; each error has a `hint` and an `exit_code`.",
    "confiture.testing": "Fixtures for pytest, and a function that runs one phase of a plugin.",
}
# What these modules define for the rest of Confiture only.
INTERNAL = {
    "confiture.rules.parsed_migration": ("Ignores", "link_plan"),
    "confiture.output.reporters": ("NO_APPENDED", "BUILTIN_FORMATS", "load_builtin_reporter"),
}
_WIDTH = 80


def list_public_names(module: ModuleType) -> tuple[str, ...]:
    """Return the public names of a module: its ``__all__``, or what its source defines."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for statement in _parse_body(module) for name in _list_defined(statement)]
    internal = INTERNAL.get(module.__name__, ())
    return tuple(name for name in names if not name.startswith("_") and name not in internal)


def page() -> str:
    """Return the whole page."""
    lines = [_INTRODUCTION, *_render_overview()]
    first: dict[int, str] = {}
    for name, audience in MODULES.items():
        module = import_module(name)
        lines.append(f"## {name}\n\n{audience}\n")
        for public in list_public_names(module):
            home = first.setdefault(id(getattr(module, public)), name)
            if home == name:
                lines += _render_name(module, public)
            else:
                lines.append(f"### {public}\n\nThe same as [`{home}.{public}`](#{public.lower()}).\n")
    return "\n".join(lines).rstrip("\n") + "\n"


def _parse_body(module: ModuleType) -> list[ast.stmt]:
    return ast.parse(inspect.getsource(module)).body


def _list_defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    return []


def _render_overview() -> Iterator[str]:
    yield "| module | names |\n|---|---|"
    for name in MODULES:
        names = ", ".join(f"`{public}`" for public in list_public_names(import_module(name)))
        yield f"| [`{name}`](#{name.replace('.', '')}) | {names} |"
    yield ""


def _render_name(module: ModuleType, name: str) -> Iterator[str]:
    value = inspect.unwrap(getattr(module, name))
    # pytest 8.4 and later wrap a fixture in an object of their own.
    value = getattr(value, "_fixture_function", value)
    yield f"### {name}\n"
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        yield from _render_value(module, name)
        return
    keyword = "class" if inspect.isclass(value) else "def"
    is_enum = inspect.isclass(value) and issubclass(value, enum.Enum)
    yield f"```text\n{keyword} {name}{'' if is_enum else _render_signature(value)}\n```\n"
    doc = doc_of(value)
    yield "\n\n".join(part for part in (doc.title, re.sub(r"::$", ":", doc.text, flags=re.M)) if part) + "\n"
    for section in ("Args", "Attributes"):
        if entries := doc.entries(section):
            yield from _render_table(section[:-1].lower(), entries)
    if "Returns" in doc.sections:
        yield f"**Returns** {' '.join(doc.sections['Returns'].split())}\n"
    if raises := doc.entries("Raises"):
        yield from _render_table("raises", raises)
    if inspect.isclass(value):
        yield from _render_members(value, {*doc.entries("Attributes")})


def _render_value(module: ModuleType, name: str) -> Iterator[str]:
    value = getattr(module, name)
    if isinstance(value, Kind):
        yield f"The kind of a setting that must be {value.expected}; for example `{value.example}`.\n"
        return
    for statement in _parse_body(module):
        if name in _list_defined(statement):
            source = ast.get_source_segment(inspect.getsource(module), statement)
            yield f"```python\n{source}\n```\n"
            return
    # A marker such as hookimpl: an instance, which explains itself in the docstring of its class.
    yield f"{doc_of(value).title}\n"


def _render_signature(value: object) -> str:
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except ValueError:  # an exception that has no __init__ of its own
        return ""
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in " ".join(parameters):
            parameters.append("*")
        parameters.append(_render_parameter(parameter))
    returns = "" if inspect.isclass(value) else _render_annotation(" -> ", signature.return_annotation)
    line = f"({', '.join(parameters)}){returns}"
    if len(line) <= _WIDTH:
        return line
    return "(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){returns}"


def _render_parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = stars + parameter.name + _render_annotation(": ", parameter.annotation)
    if parameter.default is parameter.empty:
        return text
    # A default without a readable repr, such as a factory of attrs, would differ from run to run.
    default = repr(parameter.default)
    readable = "NOTHING" not in default and " at 0x" not in default and not default.startswith("<")
    return f"{text} = {default if readable else '...'}"


def _render_annotation(before: str, annotation: object) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return before + (annotation if isinstance(annotation, str) else inspect.formatannotation(annotation))


def _render_members(owner: type, documented: set[str]) -> Iterator[str]:
    values, methods = {}, {}
    for name, value in vars(owner).items():
        if name.startswith("_") or name in documented or name in RUNNERS:
            continue
        if isinstance(value, property):
            values[name] = doc_of(value).title
        elif isinstance(value, enum.Enum):
            values[name] = f"`{value.value!r}`"
        elif inspect.isfunction(value) or isinstance(value, classmethod | staticmethod):
            function = getattr(owner, name)
            methods[name + _render_call(function)] = doc_of(function).title
    if values:
        yield from _render_table("value", values)
    if methods:
        yield from _render_table("method", methods)


def _render_call(function: object) -> str:
    parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return f"({', '.join(parameter.name for parameter in parameters if parameter.name != 'self')})"


def _render_table(heading: str, entries: dict[str, str]) -> Iterator[str]:
    yield f"| {heading} | |\n|---|---|"
    for name, text in entries.items():
        # A bar would end the cell.
        yield f"| `{name}` | {text.replace('|', chr(92) + '|')} |"
    yield ""


_INTRODUCTION = """\
# API reference

<!-- Built from the docstrings by `make docs`; change those. -->

Everything public: these names keep their meaning from version to version. What is not on this page may change
at any time. [Hooks](hooks.md) has the functions that a plugin defines; [writing a plugin](writing-plugins.md)
and [embedding](embedding.md) show how the names are used.
"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
