"""``confiture rules``."""

from __future__ import annotations

import click

from confiture.cli.context import loaded, settings_of
from confiture.cli.flags import Flags, surveying
from confiture.cli.outputs import outputs
from confiture.exceptions import UsageFault


@click.command("rules")
@surveying
@click.argument("name", required=False)
def command(flags: Flags, name: str | None) -> int:
    """List the rules that migrations are judged by, or explain one."""
    from confiture.did_you_mean import did_you_mean
    from confiture.rules.explain import explained
    from confiture.rules.registry import gathered

    with outputs(flags) as out, loaded(settings_of(flags), flags) as plugins:
        rules = gathered(plugins)
        chosen = [each for each in rules if name in (None, each.id)]
        if not chosen:
            near = did_you_mean(name or "", [each.id for each in rules])
            raise UsageFault(
                f"there is no rule {name!r}", hint=f"{near} all of them: confiture rules".strip()
            )
        out.write("rules", tuple(map(explained, chosen)))
    return 0
