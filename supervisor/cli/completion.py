"""`ullage completion`: what makes TAB complete commands, options and models."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .asking import examples


@click.command(epilog=examples(
    'eval "$(ullage completion bash)"        # in ~/.bashrc',
    'eval "$(ullage completion zsh)"         # in ~/.zshrc',
    "ullage completion fish > ~/.config/fish/completions/ullage.fish",
    "ullage completion powershell | Out-String | Invoke-Expression    # in $PROFILE",
))  # fmt: skip
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish", "powershell"]))
def completion(shell: str) -> None:
    """Print the script that makes TAB complete commands, options and models."""
    root, kind = click.get_current_context().find_root().command, get_completion_class(shell)
    assert kind is not None
    if shell == "bash":
        # bash takes a colon for the end of a word, and models have colons in their names.
        click.echo("COMP_WORDBREAKS=${COMP_WORDBREAKS//:}")
    click.echo(kind(root, {}, "ullage", "_ULLAGE_COMPLETE").source())
