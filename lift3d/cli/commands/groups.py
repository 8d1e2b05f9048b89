"""Groups of commands, and what to type for a word that is none of them."""

from typing import Any

import click

from lift3d.cli.commands.options import Exit, say

# By what to type: words that people try. A slip of the hand is answered by the nearest command.
TRIED = {
    "lift3d export STORE scene.glb": "mesh glb gltf obj",
    "lift3d export STORE scene.ply": "points cloud pointcloud ply splat splats save",
    "lift3d view STORE": "viewer serve show open browse gui web visualize visualise",
    "lift3d run SCENE": "lift start execute process predict infer encode resume continue eval evaluate",
    "lift3d run SCENE --dry-run": "plan estimate",
    "lift3d ingest FOLDER_OR_VIDEO": "sfm colmap pose poses reconstruct import read load check inspect info diagnose",
    "lift3d status STORE": "runs list ls progress log logs scenes",
    "lift3d tables STORE": "table scores score results metrics csv",
    "lift3d compare STORE": "diff versus",
    "lift3d leaderboard STORE": "rank ranking board best",
    "lift3d report STORE": "html page gallery",
    "lift3d query STORE 'red mug'": "search find ask locate text click",
    "lift3d render STORE path.mp4": "video movie fly animate",
    "lift3d masks STORE masks.ply": "mask segment segmentation instances objects",
    "lift3d questions STORE questions.jsonl": "question qa vqa",
    "lift3d tracks STORE tracks.npz": "track follow",
    "lift3d fsck STORE": "verify validate repair",
    "lift3d gc STORE": "clean prune delete remove rm",
    "lift3d doctor": "env environment system diagnostics",
    "lift3d finetune OPERATOR": "tune adapt",
    "lift3d run --help, of --operator, --lifter and --metric": "operators operator models model lifters lifter metric",
    "lift3d --help": "help",
    "lift3d --version": "version",
}


class Group(click.Group):
    """A group that shows its commands in their order, each with its whole first sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; who interrupts it is told what is left of it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("interrupted; no file is left half-written, the same command does what is not done", err=True)
            raise SystemExit(Exit.INTERRUPTED) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(1000)) for name, command in commands if command])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for; UsageError with what may be meant if there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            word = error.command_name
            meant = [typed for typed, words in TRIED.items() if word.casefold() in words.split()]
            if meant and ctx.parent is None:
                raise click.UsageError(f"No such command '{word}'. Try: {meant[0]}", ctx) from error
            raise click.NoSuchCommand(word, possibilities=self.list_commands(ctx), ctx=ctx) from error
