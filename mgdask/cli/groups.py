"""Click classes that keep ``mgdask --help`` fast, and the layout of help texts.

A command's module is imported when the command is used. Names that an option lists in
its help, such as the feature sets, are looked up when that help is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that imports the module of a command only when the command is used.

    Parameters
    ----------
    *args, **kwargs
        Arguments of ``click.Group``.
    targets
        For each command name, ``"module:attribute"`` and the line that the help of the
        group shows. Commands are listed in this order.
    anywhere
        Flags of this group that are accepted anywhere on the line, such as ``--debug``.
    """

    def __init__(
        self,
        *args: Any,
        targets: Mapping[str, tuple[str, str]],
        anywhere: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.targets = targets
        self.anywhere = anywhere

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move the flags of ``anywhere`` to the front and parse the line."""
        end = args.index("--") if "--" in args else len(args)
        flags = [word for word in args[:end] if word in self.anywhere]
        others = [word for word in args[:end] if word not in self.anywhere]
        return super().parse_args(ctx, [*flags, *others, *args[end:]])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [*self.targets]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; ``None`` if there is none of this name."""
        if cmd_name not in self.targets:
            return None
        module, _, attribute = self.targets[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.targets.items()])


class NamesOption(click.Option):
    """An option whose help lists names that are looked up only when it is shown.

    Parameters
    ----------
    *args, **kwargs
        Arguments of ``click.Option``; ``help`` has the placeholder ``{names}``.
    names
        Function that returns the names.
    """

    def __init__(self, *args: Any, names: Callable[[], Iterable[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.names = names

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option and its help with the names filled in."""
        self.help = (self.help or "").replace("{names}", ", ".join(self.names()))
        return super().get_help_record(ctx)


def examples(*lines: str) -> str:
    r"""Return an epilog of command lines, which click does not rewrap.

    >>> examples("mgdask inspect glass.zarr")
    '\x08\nExamples:\n  mgdask inspect glass.zarr'
    """
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
