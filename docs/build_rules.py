"""Build docs/rules.md from the rules: ``make docs``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from confiture.models.report import RuleExplanation
from confiture.rules.explain import explain_rule
from confiture.rules.registry import collect_rules

PAGE = Path(__file__).with_name("rules.md")
_BY = {"S": "the text", "D": "a rehearsal", "S+D": "the text; a rehearsal confirms it or takes it back"}


def page() -> str:
    """Return the whole page."""
    rules = [explain_rule(rule) for rule in collect_rules()]
    return "\n".join([_INTRODUCTION, *_table(rules), *(line for rule in rules for line in _rule(rule))])


def _table(rules: list[RuleExplanation]) -> Iterator[str]:
    yield "| rule | by default | told by | |\n|---|---|---|---|"
    for each in rules:
        told = {"S": "text", "D": "rehearsal", "S+D": "text, rehearsal"}[each.by]
        yield f"| [`{each.rule}`](#{each.rule}) | {each.severity} | {told} | {each.summary} |"
    yield ""


def _rule(rule: RuleExplanation) -> Iterator[str]:
    yield f"## {rule.rule}\n\n{rule.summary[:1].upper()}{rule.summary[1:]}. By default: {rule.severity}."
    yield f"Told by {_BY[rule.by]}.\n"
    yield f"PostgreSQL {rule.does}. Why that hurts: {rule.hurts}.\n"
    if rule.example:
        yield f"```sql\n{rule.example}\n```\n"
    if rule.recipe:
        yield f"Instead:\n\n```sql\n{rule.recipe}\n```\n"
    if rule.way:
        yield f"Instead: {rule.way}.\n"
    if rule.differs:
        yield f"In the end {rule.differs}.\n"


_INTRODUCTION = """\
# Rules

<!-- Built from the rules by `make docs`; change those. -->

`confiture lint` judges files by their text and needs no server; `confiture dry-run` runs them for real and
judges by what they did. Where both have a say the rehearsal wins: what it does not show is dropped, what
it shows is told in numbers (`basis` *measured*). A table without rows shows nothing: there the text has
the word.

An *error* is a long block, measured or certain from the text alone, and a statement that must fail: a table
with rows is rewritten, indexed or read end to end while others wait. A *warning* is a lock that is brief
if it is granted soon, and what the running application may still use. What is *off* is taste.

To let one pass, say why, above the statement or, for the whole file, above the first one:

```sql
-- confiture: ignore index-not-concurrent reason="the table is empty until March"
CREATE INDEX orders_qty ON orders (qty);
```

`--strict` refuses an ignore without a reason; one that lets nothing pass is itself a finding.
`confiture rules NAME` prints what stands here. A plugin brings rules of its own with the hook `rules`:

```python
from confiture import hookimpl
from confiture.rules.rule import Hit, Rule


def hits(piece):
    yield Hit("creates an extension, which our role may not")


@hookimpl
def rules():
    return [
        Rule(
            id="no-extensions",
            severity="error",
            basis="static",
            summary="CREATE EXTENSION",
            effect="asks for a superuser",
            risk="the migration fails in production",
            check=hits,
            kinds=("create_extension_stmt",),
        )
    ]
```

`basis="measured"` is a rule that only a rehearsal decides: `piece.report` is what was seen, `None` in `lint`.
With `rehearsed_only=True` too it looks at nothing else, and `lint` does not ask it.
"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
