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
    # Not source(): it also runs the shell to ask for its version, which need not be this machine's.
    click.echo(script.source_template % script.source_vars())
    return 0


def complete(instruction: str) -> int:
    """Answer the shell, which asks through the environment what may come next."""
    from click.shell_completion import shell_complete

    from confiture.cli.commands import confiture

    return shell_complete(confiture, {}, _PROGRAM, _COMPLETION_VARIABLE, instruction)
