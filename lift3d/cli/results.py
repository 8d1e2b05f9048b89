"""The part of the command line that takes photographs in and shows results: ingest, report, view, render, export."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

look = typer.Typer()
_EXIT_ERROR = 1

StoreUrl = Annotated[str, typer.Argument(help="URL of the store: a folder or s3://.")]
RunId = Annotated[str | None, typer.Option("--run", help="Run id; the latest if not given.")]
SceneName = Annotated[str | None, typer.Option(help="Scene, as the table calls it; the first that was lifted.")]
OperatorName = Annotated[str | None, typer.Option(help="Operator; the recipe's first if not given.")]
LifterName = Annotated[str | None, typer.Option(help="Lifter; the recipe's last if not given.")]


class Matching(StrEnum):
    """Which pairs of photographs are compared."""

    auto = "auto"
    exhaustive = "exhaustive"
    sequential = "sequential"


class ExportFormat(StrEnum):
    """What other tools take."""

    ply = "ply"
    images = "images"
    nerfstudio = "nerfstudio"
    zarr = "zarr"


@look.command()
def ingest(
    photographs: Annotated[
        str, typer.Argument(metavar="FOLDER_OR_VIDEO", help="Photographs, a video, or a scene that is posed already.")
    ],
    out: Annotated[
        Path | None, typer.Argument(help="Folder for the posed scene; a posed one is only looked at.")
    ] = None,
    matching: Annotated[
        Matching, typer.Option(help="auto: sequential for videos and for more than 150 photographs.")
    ] = Matching.auto,
    frames: Annotated[int, typer.Option(help="Frames that are taken of a video, evenly.")] = 150,
    image_size: Annotated[int, typer.Option(help="Longest side at which photographs are compared, pixels.")] = 1600,
    cameras: Annotated[
        bool, typer.Option("--one-camera/--many-cameras", help="Whether one lens took all photographs.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Find out where photographs were taken from (structure from motion), or say what a posed scene holds."""
    from lift3d.cli.ingest import IngestOptions, ingest_and_present

    options = IngestOptions(matching.value, frames, image_size, has_one_camera=cameras)
    found = ingest_and_present(photographs, out, options)
    typer.echo(json.dumps(found.to_json(), indent=1) if as_json else found.to_text())


@look.command()
def report(
    store: Annotated[str, typer.Argument(help="URL of the store.")],
    run_id: Annotated[str | None, typer.Option("--run", help="Run id; the latest if not given.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; report.html beside a local store if not given.")
    ] = None,
    views: Annotated[int, typer.Option(help="Views that are drawn of each operator and lifter.")] = 6,
    scenes: Annotated[int, typer.Option(help="Scenes that are drawn.")] = 8,
) -> None:
    """Write one HTML file that opens offline: the table, pictures, where it fails. Exit code 1 of an alien store."""
    from lift3d.report.scenes import ReportExtent
    from lift3d.report.write import write_report

    written = write_report(store, ReportExtent(run_id, scenes, views), out)
    typer.echo(written.to_text())
    sys.exit(0 if written.is_readable else _EXIT_ERROR)


@look.command()
def view(
    store: StoreUrl,
    scene: SceneName = None,
    operator: OperatorName = None,
    lifter: LifterName = None,
    run_id: RunId = None,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 7007,
    is_opened: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser.")] = True,
) -> None:
    """Look around in a lifted scene in the browser: cameras, points, features, predictions, words."""
    from lift3d.results.lifted_scene import Choice
    from lift3d.viewer.command import serve_viewer

    serve_viewer(store, Choice(scene, operator, lifter, run_id), port, is_opened=is_opened)


@look.command()
def render(
    store: StoreUrl,
    out: Annotated[Path, typer.Argument(help="Video to write, .mp4.")],
    scene: SceneName = None,
    operator: OperatorName = None,
    lifter: LifterName = None,
    run_id: RunId = None,
    frames: Annotated[int, typer.Option(help="Cameras along the path through the scene's own; 0: those lifted.")] = 120,
    fps: Annotated[int, typer.Option(help="Frames per second.")] = 24,
) -> None:
    """Write a video of what was lifted along a smooth path of cameras, most of which nobody took a picture from."""
    from lift3d.results.lifted_scene import Choice
    from lift3d.results.render import RenderExtent, render_video

    typer.echo(render_video(store, Choice(scene, operator, lifter, run_id), out, RenderExtent(frames, fps)).to_text())


@look.command()
def export(
    store: StoreUrl,
    out: Annotated[Path, typer.Argument(help="File or folder to write: .ply, .zarr, else a folder.")],
    format: Annotated[
        ExportFormat | None, typer.Option(help="Told by the suffix of OUT if not given; images without one.")
    ] = None,
    scene: SceneName = None,
    operator: OperatorName = None,
    lifter: LifterName = None,
    run_id: RunId = None,
) -> None:
    """Write what was lifted in a form that other tools take."""
    from lift3d.results.export import export_lifted
    from lift3d.results.lifted_scene import Choice

    written = export_lifted(store, Choice(scene, operator, lifter, run_id), out, format.value if format else None)
    typer.echo(written.to_text())
