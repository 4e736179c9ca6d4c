"""Build docs/rules.md from the rules: ``make docs``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from confiture.models.report import RuleExplanation
from confiture.output.recipe_text import format_recipe
from confiture.rules.explain import explain_rule
from confiture.rules.registry import collect_rules

PAGE = Path(__file__).with_name("rules.md")
_BY = {
    "S": "Decided from the SQL text.",
    "D": "Decided by a rehearsal only.",
    "S+D": "Decided from the SQL text; a rehearsal confirms or withdraws the finding.",
    "C": "Decided from the catalog, by `confiture lint --schema`.",
}


def page() -> str:
    """Return the whole page."""
    rules = [explain_rule(rule) for rule in collect_rules()]
    return "\n".join([_INTRODUCTION, *_table(rules), *(line for rule in rules for line in _rule(rule))])


def _table(rules: list[RuleExplanation]) -> Iterator[str]:
    yield "| rule | by default | decided from | finds |\n|---|---|---|---|"
    for rule in rules:
        basis = {"S": "text", "D": "rehearsal", "S+D": "text, rehearsal", "C": "schema"}[rule.by]
        yield f"| [`{rule.rule}`](#{rule.rule}) | {rule.severity} | {basis} | {rule.summary} |"
    yield ""


def _rule(rule: RuleExplanation) -> Iterator[str]:
    yield f"## {rule.rule}\n\n{rule.summary[:1].upper()}{rule.summary[1:]}. By default: {rule.severity}."
    yield f"{_BY[rule.by]}\n"
    yield f"PostgreSQL {rule.does}. Why it hurts: {rule.hurts}.\n"
    if rule.needs:
        keys = " and ".join(f"`{key}`" for key in rule.needs)
        yield f"Off without {keys} in [`[tool.confiture.schema]`](schema-lint.md).\n"
    if rule.example:
        yield f"```sql\n{rule.example}\n```\n"
    if rule.recipe:
        yield f"Instead:\n\n```sql\n{format_recipe(rule.recipe, rule.files)}\n```\n"
    if rule.way:
        yield f"Instead: {rule.way}.\n"
    if rule.differs:
        yield f"The result differs: {rule.differs}.\n"


_INTRODUCTION = """\
# Rules

<!-- Built from the rules by `make docs`; change those. -->

`confiture lint` checks the text of the files and needs no server. `confiture dry-run` rehearses the
migrations and judges what they did. The rehearsal overrules the text: a finding that it does not confirm is
dropped, and a finding that it confirms has the measured numbers (`basis` *measured*). On a table without rows
a rehearsal proves nothing, so there the text decides.

An *error* is a long block, measured or certain from the text: a table with rows is rewritten, indexed or
scanned while others are blocked. A statement that must fail is an error too. A *warning* is a lock that is
brief if it is granted soon, or a change to something that the running application may still use. Rules about
style are *off*.

What is written *instead* of a statement is a list of files. The file at hand keeps its name for what stays in
it. What must be committed separately, such as `CREATE INDEX CONCURRENTLY`, gets a migration of its own behind
it, so that the rest of the file stays in a transaction and is rehearsed. Names of new files are proposals.
A comment `-- differs:` says how the result differs from that of the statement. If no form works without
blocking, there is no recipe. Several statements of a file that must run outside a transaction share one
recipe, which the first of them shows. In JSON a finding has `files`, each with `name`, `directives` and
`sql`.

To suppress a finding, write the reason above the statement or, for the whole file, above the first statement:

```sql
-- confiture: ignore index-not-concurrent reason="the table is empty until March"
CREATE INDEX orders_qty ON orders (qty);
```

`--strict` reports an ignore without a reason as an error. An ignore that suppresses nothing is itself a
finding. `confiture rules NAME` explains a rule as on this page. A plugin adds rules with the hook `rules`
([Writing a rule](writing-rules.md)):

```python
from confiture import hookimpl
from confiture.rules.rule import Hit, Rule


def check_extension(statement):
    yield Hit("creates an extension, which our role may not do")


@hookimpl
def rules():
    return [
        Rule(
            id="no-extensions",
            severity="error",
            basis="static",
            summary="CREATE EXTENSION",
            effect="needs a superuser for most extensions",
            risk="the migration fails in production",
            check=check_extension,
            kinds=("create_extension_stmt",),
        )
    ]
```

A rule with `basis="measured"` is decided by a rehearsal only: `statement.report` has the measurements, and
is `None` in `lint`. If the rule needs nothing but the measurements, add `rehearsed_only=True`: `lint` then
skips it.
"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
