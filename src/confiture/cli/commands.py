"""Lists the commands with their help, so that ``--help`` imports none of them."""

from __future__ import annotations

from importlib import import_module

import click

from confiture import __version__

COMMANDS = {
    "init": "Write a configuration file and a migrations folder.",
    "new": "Write a new, empty migration.",
    "status": "Show which migrations are applied and which are pending.",
    "plan": "Show what would run, in order, with its SQL and hooks.",
    "run": "Apply the pending migrations.",
    "dry-run": "Rehearse the pending migrations: run them, then roll back.",
    "down": "Undo the last migration, or several.",
    "redo": "Undo the last migration and apply it again.",
    "verify": "Compare the ledger with the files and the installed plugins.",
    "baseline": "Record migrations as applied without running them.",
    "repair": "Show unfinished migrations and the exact next command.",
    "history": "Show what was applied when, by whom, with which hooks and plugins.",
    "dump": "Write the schema as SQL to commit and review.",
    "stats": "Export the statistics that estimates need from production; no row data.",
    "estimates": "Show how accurate predictions have been.",
    "completion": "Print the completion script for a shell.",
    "lint": "Check migration files without a server.",
    "accept": "Accept current findings so that they no longer fail the gate.",
    "rules": "List the rules that check migrations, or explain one.",
    "plugins": "List the installed plugins.",
}


class CommandGroup(click.Group):
    """A click group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command; ``None`` if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"confiture.cli.{cmd_name.replace('-', '_')}_command")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name; raise an error that suggests the nearest one."""
        known = not args or args[0] in COMMANDS or args[0].startswith("-")
        # During shell completion the command may be incomplete, so an unknown word is not an error.
        if not known and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no command {args[0]!r}{_suggest_nearest(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _suggest_nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(COMMANDS)}"


@click.command(
    cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="confiture", message="%(prog)s %(version)s")
def confiture() -> None:
    """PostgreSQL migrations you can rehearse."""
