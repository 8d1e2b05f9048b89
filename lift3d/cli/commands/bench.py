"""``lift3d bench``: measurements of the checkout, which the package does not bring along."""

import importlib.util

import click

from lift3d.cli.commands.options import Group
from lift3d.errors import ConfigError

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
            raise ConfigError(
                "lift3d bench measures what the authors publish and lies in the repository alone, beside lift3d/: "
                "clone it, and run make bench there."
            )
        from lift3d.bench.commands import COMMANDS

        return COMMANDS


bench = BenchGroup("bench", help="Measure: kernels against the machine, lifters against captures. In a checkout.")
