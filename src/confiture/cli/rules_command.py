"""``confiture rules``."""

from __future__ import annotations

import click

from confiture.cli.context import load_plugins, read_settings
from confiture.cli.flags import Flags, plugin_options
from confiture.cli.outputs import open_outputs
from confiture.exceptions import UsageFault


@click.command("rules")
@plugin_options
@click.argument("name", required=False)
def command(flags: Flags, name: str | None) -> int:
    """List the rules that check migrations, or explain one."""
    from confiture.did_you_mean import did_you_mean
    from confiture.rules.explain import explain_rule
    from confiture.rules.registry import collect_rules

    with open_outputs(flags) as out, load_plugins(read_settings(flags), flags) as plugins:
        rules = collect_rules(plugins)
        chosen = [rule for rule in rules if name in (None, rule.id)]
        if not chosen:
            near = did_you_mean(name or "", [rule.id for rule in rules])
            raise UsageFault(
                f"there is no rule {name!r}", hint=f"{near} all of them: confiture rules".strip()
            )
        out.write("rules", tuple(map(explain_rule, chosen)))
    return 0
