"""Build docs/hooks.md from the docstrings of the hookspecs: ``make docs``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from confiture.hooks import spec
from confiture.hooks.api import HookPhase, HookResult
from confiture.hooks.hook_context import HookContext
from confiture.plugins.check import HOOKS

PAGE = Path(__file__).with_name("hooks.md")
# What the runner calls, not a hook.
RUNNERS = ("running", "saved")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):\n((?:    .*\n|\n)+)", re.M)
_ENTRY = re.compile(r"^    (\w[\w.]*): ((?:.|\n(?!    \w[\w.]*: ))*)", re.M)


@frozen
class Doc:
    """A docstring, taken apart.

    Attributes:
        title: Its first line.
        text: What follows, up to the first section.
        sections: Each section's text, by its heading.
    """

    title: str
    text: str
    sections: dict[str, str]

    def entries(self, section: str) -> dict[str, str]:
        """Return what a section says of each name."""
        found = _ENTRY.findall(self.sections.get(section, ""))
        return {name: " ".join(text.split()) for name, text in found}


def doc_of(thing: object) -> Doc:
    """Take the docstring of ``thing`` apart, in Markdown."""
    text = re.sub(r":\w+:`([^`]*)`", r"`\1`", inspect.getdoc(thing) or "").replace("``", "`") + "\n"
    sections = dict(_SECTION.findall(text))
    title, _, body = _SECTION.sub("", text).partition("\n")
    return Doc(title, body.strip(), sections)


def page() -> str:
    """Return the whole page."""
    parts = [_INTRODUCTION, *_overview()]
    for phase in HookPhase:
        parts += _hook(getattr(spec, phase.spec))
    parts += [*_context(), *_result(), _FURTHER]
    for name in HOOKS[len(HookPhase) :]:
        parts += _hook(getattr(spec, name))
    return "\n".join(parts)


def _overview() -> Iterator[str]:
    yield "| hook | for |\n|---|---|"
    for phase in HookPhase:
        yield f"| [`{phase.spec}`](#{phase.spec}) | {doc_of(getattr(spec, phase.spec)).title} |"
    yield ""


def _hook(function: Callable[..., Any]) -> Iterator[str]:
    doc = doc_of(function)
    name, arguments = function.__name__, ", ".join(inspect.signature(function).parameters)
    yield f"## {name}\n\n```python\n@hookimpl\ndef {name}({arguments}): ...\n```\n"
    yield f"{doc.title}\n\n{doc.text}\n"
    if arguments:
        yield from _table("argument", doc.entries("Args"))
    yield f"**Returns** {_lowered(' '.join(doc.sections['Returns'].split()))}\n"
    yield f"**Where it raises**, {_lowered(doc.entries('Raises')['Exception'])}\n"


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _table(heading: str, entries: dict[str, str]) -> Iterator[str]:
    yield f"| {heading} | |\n|---|---|"
    for name, text in entries.items():
        yield f"| `{name}` | {text} |"
    yield ""


def _context() -> Iterator[str]:
    yield f"## HookContext\n\n{doc_of(HookContext).title}\n"
    yield from _table("attribute", {**doc_of(HookContext).entries("Attributes"), **dict(_properties())})
    yield from _table("method", dict(_methods()))


def _properties() -> Iterator[tuple[str, str]]:
    for name, value in vars(HookContext).items():
        if isinstance(value, property):
            yield name, doc_of(value).title


def _methods() -> Iterator[tuple[str, str]]:
    for name, value in vars(HookContext).items():
        if inspect.isfunction(value) and not name.startswith("_") and name not in RUNNERS:
            arguments = [str(parameter) for parameter in inspect.signature(value).parameters.values()][1:]
            plain = ", ".join(re.sub(r":[^=]*", "", argument).replace(" ", "") for argument in arguments)
            yield f"{name}({plain})", doc_of(value).title


def _result() -> Iterator[str]:
    yield f"## HookResult\n\n{doc_of(HookResult).title}\n"
    yield from _table("attribute", doc_of(HookResult).entries("Attributes"))


_FURTHER = """\
## Other hooks

These hooks belong to no phase and do not touch the database.
"""

_INTRODUCTION = """\
# Hooks

<!-- Built from the docstrings by `make docs`; change those. -->

There is one hook per phase. A plugin defines any of these functions, marked `@hookimpl`, each with only the
arguments that it needs. Every call runs in its own savepoint. If a hook raises, this page says what happens
under the default policy; [failures](failures.md) has the other one. [The order of execution](order.md) says
who is called when; [writing a plugin](writing-plugins.md) is the tutorial.
"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
