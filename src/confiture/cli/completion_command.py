"""``confiture completion``."""

from __future__ import annotations

import click

_PROGRAM = "confiture"
_COMPLETION_VARIABLE = "_CONFITURE_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
def command(shell: str) -> int:
    """Print the completion script for a shell.

    In bash, add to ~/.bashrc: source <(confiture completion bash). In zsh, the same in ~/.zshrc.
    In fish, run: confiture completion fish > ~/.config/fish/completions/confiture.fish
    """
    from click.shell_completion import get_completion_class

    from confiture.cli.commands import confiture

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(confiture, {}, _PROGRAM, _COMPLETION_VARIABLE)
    # Not script.source(): it also runs the local bash to check its version, and the script may be for another
    # machine.
    click.echo(script.source_template % script.source_vars())
    return 0


def complete(instruction: str) -> int:
    """Print the completions that the shell asks for through environment variables."""
    from click.shell_completion import shell_complete

    from confiture.cli.commands import confiture

    return shell_complete(confiture, {}, _PROGRAM, _COMPLETION_VARIABLE, instruction)
