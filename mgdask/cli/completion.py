"""``mgdask completion``: the line that enables completion in a shell."""

from __future__ import annotations

import os
from pathlib import PurePath

import click

from mgdask.cli.groups import examples

LINES = {
    "bash": ("~/.bashrc", 'eval "$(_MGDASK_COMPLETE=bash_source mgdask)"'),
    "zsh": ("~/.zshrc", 'eval "$(_MGDASK_COMPLETE=zsh_source mgdask)"'),
    "fish": ("~/.config/fish/config.fish", "_MGDASK_COMPLETE=fish_source mgdask | source"),
}
"""For each shell, its start-up file and the line to add to it."""


@click.command(epilog=examples("mgdask completion", "mgdask completion zsh >> ~/.zshrc"))
@click.argument("shell", type=click.Choice(list(LINES)), required=False)
def completion(shell: str | None) -> None:
    """Show how to enable shell completion.

    Prints the line to add to the start-up file of SHELL: bash, zsh or fish. The default
    is your login shell ($SHELL), or bash if that is none of the three.
    """
    if shell is None:
        login_shell = PurePath(os.environ.get("SHELL", "")).name
        shell = login_shell if login_shell in LINES else "bash"
    startup_file, line = LINES[shell]
    click.echo(f"# completion of mgdask commands; add it to {startup_file}\n{line}")
