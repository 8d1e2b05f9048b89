"""Commands that take photographs in and show results, from ingest and report to masks, questions and tracks."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lift3d.cli.commands.options import PATH, AnsweredArgument, Exit, importing, json_option, say, show, store_argument
from lift3d.errors import ConfigError
from lift3d.messages import at_work

if TYPE_CHECKING:
    from lift3d.results.lifted_scene import LiftedScene

captures_option = click.option(
    "--captures", is_flag=True, help="Read photographs where the run says that they lie, though you did not begin it."
)
plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    help="Plug-in of the run, or the name of its operator or lifter if that names a file: nothing that only a store "
    "names is loaded. Repeatable.",
)


def out_argument(example: str, said: str) -> Callable[[Any], Any]:
    """Return the argument OUT: a file; who names none is told the command with an example."""

    def answer(ctx: click.Context) -> str:
        return f"Which file? For instance: lift3d {ctx.info_name} {shlex.quote(ctx.params['store'])} {example}"

    return click.argument("out", cls=AnsweredArgument, answer=answer, type=PATH, help=said)


def choice_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose one lifted scene of a store; the command gets them as ``chosen``."""
    options = (
        click.option("--scene", help="Scene, as the table calls it; the first that was lifted if not given."),
        click.option("--operator", help="The recipe's first if not given."),
        click.option("--lifter", help="The recipe's last if not given."),
        click.option("--run", "run_id", help="Run id; the latest that lifted anything if not given."),
        captures_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="FOLDER_OR_VIDEO", help="Photographs, a video, or a scene that is posed already.")
@click.argument("out", type=PATH, required=False, help="Folder for the posed scene; a posed one is only looked at.")
@click.option(
    "--matching",
    type=click.Choice(["auto", "exhaustive", "similar", "sequential"]),
    default="auto",
    help="auto: sequential for videos, similar ones where that finds few, and for more than 40 photographs.",
)
@click.option("--frames", default=150, help="Frames that are taken of a video, evenly.")
@click.option("--image-size", default=1600, help="Longest side at which photographs are compared, pixels.")
@click.option(
    "--one-camera/--many-cameras", "has_one_camera", default=True, help="Whether one lens took all photographs."
)
@click.option("--check/--no-check", "checks", default=True, help="Whether to look for what will hurt: blur, poses, …")
@json_option
def ingest(source: str, out: Path | None, checks: bool, as_json: bool, **options: Any) -> None:
    """Find out where photographs were taken from (structure from motion), or say what a posed scene holds."""
    with importing():
        from lift3d.cli.ingest import IngestOptions, ingest_and_present

    found = ingest_and_present(source, out, IngestOptions(**options), checks=checks)
    show(found.to_json(), found.to_text(), as_json)


@click.command()
@store_argument
@click.option("--run", "run_id", help="Run id; the latest that lifted anything if not given.")
@click.option("--out", type=PATH, help="File to write; report.html in a local store if not given.")
@click.option("--views", default=6, help="Views that are drawn of each operator and lifter.")
@click.option("--scenes", default=8, help="Scenes that are drawn on one page.")
@click.option("--pages", default=400, help="Of more scenes: so many have a page each, the worst first.")
@captures_option
def report(store: str, run_id: str | None, out: Path | None, captures: bool, **extent: int) -> None:
    """Write HTML that opens offline: the answer, where it fails, the table. Exit code 1 of an alien store."""
    with importing():
        from lift3d.report.scenes import ReportExtent
        from lift3d.report.write import write_report

    shown = ReportExtent(run_id, extent["scenes"], extent["views"], captures, extent["pages"])
    written = write_report(store, shown, out)
    say(written.to_text())
    sys.exit(Exit.DONE if written.is_readable else Exit.ERROR)


@click.command()
@store_argument
@choice_options
@click.option("--port", default=7007, help="Port on this machine.")
@click.option("--open/--no-open", "is_opened", default=True, help="Open a browser.")
@plugin_option
def view(store: str, port: int, is_opened: bool, **chosen: Any) -> None:
    """Look around in a lifted scene in the browser: surface, cameras, pictures from anywhere, labels, words."""
    with importing():
        from lift3d.results.opened import open_lifted
        from lift3d.viewer.command import check_port, serve_viewer

    check_port(port)
    serve_viewer(open_lifted(store, **chosen), port, is_opened=is_opened)


@click.command()
@store_argument
@out_argument("path.mp4", "Video to write, .mp4.")
@choice_options
@click.option("--frames", default=120, help="Cameras along the path through the scene's own; 0: those lifted.")
@click.option("--fps", default=24, help="Frames per second.")
@plugin_option
def render(store: str, out: Path, frames: int, fps: int, **chosen: Any) -> None:
    """Write a video of what was lifted along a smooth path of cameras, most of which nobody took a picture from."""
    with importing():
        from lift3d.results.opened import open_lifted
        from lift3d.results.render.video import RenderExtent, render_video

    say(render_video(open_lifted(store, **chosen), out, RenderExtent(frames, fps)).to_text())


@click.command()
@store_argument
@out_argument("scene.ply", "File or folder to write: .ply, .glb, .parquet, .zarr, else a folder.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["ply", "mesh", "gltf", "parquet", "images", "colmap", "nerfstudio", "zarr"]),
    help="Told by the suffix of OUT if not given (.ply: points); images without one.",
)
@click.option(
    "--onto", type=PATH, help="A .ply of your own, splats, cloud or mesh: its rows get what was lifted, in their order."
)
@click.option("--only", type=int, multiple=True, help="With --onto: rows of this label alone. Repeatable.")
@choice_options
def export(store: str, out: Path, form: str | None, onto: Path | None, only: tuple[int, ...], **chosen: Any) -> None:
    """Write what was lifted in a form that other tools take."""
    with importing():
        from lift3d.results.exports.write import export_lifted
        from lift3d.results.opened import open_lifted

    say(export_lifted(open_lifted(store, **chosen), out, form, onto=onto, only=only))


@click.command()
@store_argument
@click.argument("words", nargs=-1)
@click.option(
    "--click", "clicks", multiple=True, help="VIEW,U,V: what is like that pixel of a lifted view. Repeatable."
)
@click.option(
    "--rule",
    type=click.Choice(["edge", "otsu", "even"]),
    default="edge",
    help="How the threshold is chosen: where features change most, Otsu's, or relevancy 0.5.",
)
@click.option("--out", type=PATH, help="The points with their likeness: .ply, .parquet or .csv. Of one query.")
@click.option("--onto", type=PATH, help="A .ply of your own: the rows that are found are cut out of it, into --out.")
@click.option("--on-masks", is_flag=True, help="Ask of whole masks (lift3d masks), which are found in a minute or so.")
@json_option
@choice_options
@plugin_option
def query(
    store: str,
    words: tuple[str, ...],
    clicks: tuple[str, ...],
    rule: str,
    out: Path | None,
    onto: Path | None,
    on_masks: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Say where in a lifted scene some WORDS are, or what is like a pixel; every argument is a query."""
    with importing():
        from lift3d.cli.query import ask
        from lift3d.results.opened import open_lifted
        from lift3d.results.query.ask import that_takes_words

    lifted = open_lifted(store, **chosen)
    if words and chosen.get("operator") is None and (able := that_takes_words(lifted.recipe, lifted.trusted)):
        lifted = open_lifted(store, **{**chosen, "operator": able})
    found = ask(lifted, words, clicks, rule, out, onto, on_masks=on_masks)
    show(found.to_json(), found.to_text(), as_json)


@click.command()
@store_argument
@out_argument("masks.ply", "File to write: labelled points (.ply), or masks of all views (.json).")
@click.option(
    "--masks",
    "folder",
    type=PATH,
    help="2D masks of your own in place of the operator's: a folder with VIEW.png or VIEW.npy, a label map each, 0 "
    "where there is no mask.",
)
@choice_options
def masks(store: str, out: Path, folder: Path | None, **chosen: Any) -> None:
    """Merge the views' 2D masks on the scene's surface: one thing has one id from everywhere, without classes."""
    with importing():
        from lift3d.cli.checks import stages
        from lift3d.results.exports.masks import check_masks_name, write_masks
        from lift3d.results.masks.files import masks_in
        from lift3d.results.masks.scene_masks import scene_masks
        from lift3d.results.masks.view_masks import that_has_masks
        from lift3d.results.opened import open_lifted

    check_masks_name(out)
    lifted = open_lifted(store, **chosen)
    if folder is None and chosen.get("operator") is None:
        lifted = that_has_masks(lifted)
    with stages() as report:
        found = scene_masks(lifted, masks=None if folder is None else masks_in(folder, lifted.compared), report=report)
    say(write_masks(found, out))


@click.command()
@store_argument
@out_argument("questions.parquet", "File to write: a question a row, .parquet or .jsonl.")
@click.option("--word", "words", multiple=True, help="What things there may be; each mask has the likest. Repeatable.")
@click.option("--labels", help="Segmentation operator of the run that names masks; capture: the capture's own labels.")
@click.option("--name", "given", multiple=True, help="ID=NAME: what a mask is called, by hand. Repeatable.")
@click.option("--numbered", is_flag=True, help="Tell things of one name apart by the number of their mask: chair 7.")
@click.option("--ignore", "ignored", multiple=True, help="Names not asked about: wall, floor, ceiling, background.")
@click.option("--view", "views", multiple=True, help="View that may be asked from; all if not given. Repeatable.")
@click.option("--metres-per-unit", type=float, help="Of the scene's world; 1 if not given and the capture says so.")
@click.option("--up", metavar="X,Y,Z", help="Where up is; told by the cameras if not given.")
@click.option("--masks", "folder", type=PATH, help="2D masks of your own, as for lift3d masks.")
@choice_options
@plugin_option
def questions(store: str, out: Path, folder: Path | None, **options: Any) -> None:
    """Ask where things are, how large, how far apart, and answer by what is measured; what is in doubt is refused."""
    with importing():
        from lift3d.cli.questions import ask_about
        from lift3d.results.masks.view_masks import that_has_masks
        from lift3d.results.opened import open_lifted

    chosen = {name: options.pop(name) for name in ("scene", "operator", "lifter", "run_id", "captures", "plugins")}

    def opened() -> "LiftedScene":
        lifted = open_lifted(store, **chosen)
        return lifted if folder or chosen["operator"] else that_has_masks(lifted)

    say(ask_about(opened, out, folder, **options))


@click.command()
@store_argument
@out_argument("tracks.npz", "File to write: .npz as TAPVid-3D has it, or a table (.csv, .parquet).")
@click.option(
    "--points",
    type=PATH,
    help="Pixels to follow: .csv with columns view, u, v, .json of such, .npz of lift3d tracks.",
)
@click.option("--click", "clicks", multiple=True, help="VIEW,U,V: a pixel to follow. Repeatable.")
@click.option("--grid", "grids", multiple=True, help="VIEW,STEP: a point in each square of STEP pixels. Repeatable.")
@click.option("--view", "views", multiple=True, help="View to follow points through; all if not given. Repeatable.")
@click.option("--scene", help="Scene, as the table calls it; the first that was lifted if not given.")
@click.option("--run", "run_id", help="Run id; the latest that lifted anything if not given.")
@captures_option
def tracks(
    store: str,
    out: Path,
    points: Path | None,
    clicks: tuple[str, ...],
    grids: tuple[str, ...],
    views: tuple[str, ...],
    **chosen: Any,
) -> None:
    """Follow pixels through all views: where their points are, and which views see them."""
    with importing():
        from lift3d.cli.query import parsed_click, parsed_grid
        from lift3d.results.exports.tracks import check_tracks_name, read_points, write_tracks
        from lift3d.results.tracks import scene_tracks

    check_tracks_name(out)
    if not (points or clicks or grids):
        raise ConfigError("Nothing is asked. Give --click VIEW,U,V, --grid VIEW,STEP, or --points FILE.")
    asked = [*(read_points(points) if points else []), *map(parsed_click, clicks)]
    with at_work("looking where views see them"):
        found = scene_tracks(store, asked, [parsed_grid(one) for one in grids], views=views or None, **chosen)
    say(write_tracks(found, out))
