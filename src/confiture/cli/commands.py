"""List the commands with their help, so that ``--help`` imports none of them."""

from __future__ import annotations

from importlib import import_module

import click

from confiture import __version__
from confiture.exceptions import PluginFault, UsageFault, describe_error

COMMANDS = {
    "init": "Write a configuration file and a migrations folder.",
    "new": "Write a new, empty migration.",
    "status": "Show which migrations are applied and which are pending.",
    "plan": "Show what would run, in order, with its hooks; with -v, its SQL too.",
    "run": "Apply the pending migrations.",
    "wizard": "Rehearse, decide about each migration, and run what was approved.",
    "dry-run": "Rehearse the pending migrations: run them, then roll back.",
    "down": "Undo the last migration, or several.",
    "redo": "Undo the last migration and apply it again.",
    "verify": "Compare the ledger with the files and the installed plugins.",
    "baseline": "Record migrations as applied without running them.",
    "adopt": "Continue from another migration tool, with its files as they are.",
    "repair": "Show unfinished migrations and the exact next command.",
    "history": "Show what was applied, reverted or failed: when, by whom, with which hooks and plugins.",
    "schema-version": "Print the fingerprint of the schema, now or as it was recorded.",
    "drift": "Compare the live schema with the recorded one, or with what the migrations make.",
    "diff": "Show how the schema differs between two versions.",
    "dashboard": "Write the history of one or more databases as one HTML page.",
    "dump": "Write the schema as SQL to commit and review.",
    "stats": "Export the statistics that estimates need from production; no row data.",
    "estimates": "Show how accurate predictions have been.",
    "fleet": "Run the migrations on many databases, or on the schemas of one.",
    "completion": "Print the completion script for a shell.",
    "lint": "Check migration files without a server, or the schema that they lead to.",
    "accept": "Accept current findings so that they no longer fail the gate.",
    "rules": "List the rules that check migrations, or explain one.",
    "plugins": "List the installed plugins.",
}


OTHER_NAMES = {
    "init": ("setup", "bootstrap"),
    "new": ("create", "generate", "make", "make:migration", "makemigrations", "revision", "add"),
    "status": ("info", "list", "current", "migrations"),
    "plan": ("preview", "pending"),
    "run": ("up", "migrate", "upgrade", "apply", "deploy", "update", "up-to", "up-by-one", "latest"),
    "down": ("rollback", "downgrade", "undo", "revert", "unapply", "down-to"),
    "verify": ("validate",),
    "baseline": ("stamp", "mark", "force", "fake", "resolve"),
    "history": ("log",),
}
"""What other tools call our commands, by our name: only to point from one to the other."""


PLUGIN_COMMANDS = "confiture.commands"
"""The entry points of packages that bring commands: a name, and a click command."""


class CommandGroup(click.Group):
    """A click group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command; ``None`` if there is none of that name."""
        if cmd_name not in COMMANDS:
            return load_plugin_command(cmd_name)
        module = import_module(f"confiture.cli.{cmd_name.replace('-', '_')}_command")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name; raise an error that suggests the nearest one."""
        from confiture.cli.stray_url import refuse_stray_url

        plugins = bool(args) and args[0] not in COMMANDS and has_plugin_command(args[0])
        known = not args or args[0] in COMMANDS or args[0].startswith("-") or plugins
        # During shell completion the command may be incomplete, so an unknown word is not an error.
        if not known and not ctx.resilient_parsing:
            refuse_stray_url(None, args)
            _refuse_other_name(args[0])
            raise click.UsageError(f"there is no command {args[0]!r}{_suggest_nearest(args[0])}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        # A command with reports checks its arguments itself, and writes the refusal into them. A plugin's
        # command may have other options for URLs.
        called = _find_subcommand(command, rest)
        if not (plugins or ctx.resilient_parsing or hasattr(called, "mode")):
            refuse_stray_url(called, rest)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _find_subcommand(command: click.Command | None, args: list[str]) -> click.Command | None:
    if isinstance(command, click.Group):
        return command.commands.get(args[0], command) if args else command
    return command


def has_plugin_command(name: str) -> bool:
    """Return True if an installed package brings a command of this name, without importing it."""
    # Imported here: reading what is installed takes as long as all the rest of --help.
    from importlib.metadata import entry_points

    return bool(entry_points(group=PLUGIN_COMMANDS, name=name))


def load_plugin_command(name: str) -> click.Command | None:
    """Import the command of this name that a package brings; ``None`` if there is none.

    Raises:
        PluginFault: It cannot be imported, is no command, or several packages bring it.
    """
    from importlib.metadata import entry_points

    found = list(entry_points(group=PLUGIN_COMMANDS, name=name))
    if not found:
        return None
    if len(found) > 1:
        owners = " and ".join(sorted(point.dist.name for point in found if point.dist))
        message = f"several packages bring the command {name!r}: {owners}"
        raise PluginFault(message, hint="uninstall all but one")
    try:
        command = found[0].load()
    except Exception as error:
        raise PluginFault(f"the command {name!r} cannot be loaded: {describe_error(error)}") from None
    if not isinstance(command, click.Command):
        raise PluginFault(f"{found[0].value} is a {type(command).__name__}, not a click command")
    return command


def _refuse_other_name(name: str) -> None:
    """Raise a fault that names our command if ``name`` is what another tool calls it."""
    for ours, others in OTHER_NAMES.items():
        if name.lower() in others:
            does = COMMANDS[ours].rstrip(".")
            raise UsageFault(
                f"there is no command {name!r}",
                hint=f"to {does[0].lower()}{does[1:]}: confiture {ours}",
            )


def _suggest_nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(COMMANDS)}"


@click.command(
    cls=CommandGroup,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="confiture", message="%(prog)s %(version)s")
@click.pass_context
def confiture(ctx: click.Context) -> None:
    """PostgreSQL migrations you can rehearse."""
    print_help_if_bare(ctx)


def print_help_if_bare(ctx: click.Context) -> None:
    """Print a group's help if no command of it was named; click would call that an error."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
