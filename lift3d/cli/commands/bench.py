"""``lift3d bench``: measurements of the checkout, which the package does not bring along."""

import importlib.util

import click

from lift3d.cli.commands.groups import Group
from lift3d.extras import only_in_checkout

_HOME = "lift3d.bench"


class BenchGroup(Group):
    """The commands of ``lift3d.bench.commands``, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return list(self._found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the one of that name."""
        return self._found().get(cmd_name)

    def _found(self) -> dict[str, click.Command]:
        if importlib.util.find_spec(_HOME) is None:
            raise only_in_checkout("The measurements of what the authors publish", "lift3d/bench")
        from lift3d.bench.commands import COMMANDS

        return COMMANDS


bench = BenchGroup("bench", help="Measure: kernels against the machine, lifters against captures. In a checkout.")
