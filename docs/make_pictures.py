"""Make the pictures of the documentation, all of computed scenes: ``python docs/make_pictures.py``.

- flicker.webp: a camera's path; what a 2D model says of every view alone, and the same lifted.
- line.webp: the stages, each by what it gives.
- taps.webp: which places of which sources one cell of a target is blended from, and coverage.
"""

import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

import lift3d
from lift3d.config import Recipe
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import RayProposal
from lift3d.domain.scene import Frame, Scene
from lift3d.domain.weights import BlendingWeights
from lift3d.lifters.catalog import build_lifter
from lift3d.lifters.weights import weights_at
from lift3d.pipeline.propose import propose
from lift3d.pipeline.targets import Target, choose_targets, select_sources
from lift3d.results.colours import Picture, heat_picture
from lift3d.results.lifted_scene import LiftedScene

PICTURES = Path(__file__).parent / "pictures"
# Seeds from 9000 on are those that no training saw.
PATH = "procedural:room?seed=9000&views=24&height=72&width=96"
OPERATOR = "felzenszwalb?as=ids&count=12"
# That whose stages are drawn; what flickers is lifted by the default.
LIFTER = "lift3d"
# Lifting takes minutes; what is there already is read.
STORE = "runs/pictures"
# Wide enough apart that a source shows the spot from elsewhere.
STILL = "procedural:room?seed=9002&views=7&height=192&width=256&spacing=2"
# Mean error of the depths of a ray, as a share of the true one: found.
_CERTAIN = 0.02
# What shows in a picture.
_LEAST_SHARE = 0.04
_FRAME_MS = 220
_PANEL_PX = (288, 216)
_TITLE_PX = 26
_INK, _PAPER, _ACCENT = "#222222", "#ffffff", "#e4572e"


def main() -> None:
    """Write all pictures."""
    PICTURES.mkdir(exist_ok=True)
    flickering = lift3d.lift(PATH, OPERATOR, store=STORE, image_height=72, sources=24, taps=24)
    draw_flicker(flickering, PICTURES / "flicker.webp")
    recipe = Recipe(scenes=(STILL,), lifters=(LIFTER,), image_height=192, target_mode="heldout", sources=6)
    spot = Spot(lift3d.read_scene(STILL), recipe)
    draw_taps(spot, PICTURES / "taps.webp")
    lifted = lift3d.lift(
        STILL, "tiny:segmenter", LIFTER, store=STORE, image_height=192, sources=6, target_mode="heldout"
    )
    draw_line(spot, lifted, PICTURES / "line.webp")


class Spot:
    """The first target of a scene, what is proposed for it, and the taps of one of its cells."""

    def __init__(self, scene: Scene, recipe: Recipe) -> None:
        views = scene.views
        cameras = {view.id: view.camera.resized(view.camera.size.with_height(recipe.image_height)) for view in views}
        chosen = select_sources(choose_targets(views, recipe), cameras, recipe.sources, scene.depth_range)
        self.target: Target = chosen[0]
        self.frames: dict[str, Frame] = {view.id: view.load(recipe.image_height) for view in views}
        self.proposal: RayProposal = propose(
            build_lifter(LIFTER), self.target, self.frames.__getitem__, scene.depth_range
        )
        grid = FeatureGrid.covering(self.target.camera.size, 8.0)
        self.weights: BlendingWeights = weights_at(self.proposal.uniformly_weighted(), grid, tap_count=recipe.tap_count)
        self.cell = _telling_cell(self.proposal, self.weights, self.frames[self.target.id].z_depth)
        self.uv = (
            grid.origin_u + grid.stride_u * (self.cell % grid.cols + 0.5),
            grid.origin_v + grid.stride_v * (self.cell // grid.cols + 0.5),
        )

    def coverage(self) -> Picture:
        """Share of each ray that some source sees."""
        grid = self.weights.grid
        return heat_picture(self.weights.coverage.reshape(grid.rows, grid.cols), (0.0, 1.0))

    def taps(self) -> dict[str, list[tuple[float, float, float]]]:
        """Places (u, v) and weights of the cell's taps, by source."""
        taps: dict[str, list[tuple[float, float, float]]] = {name: [] for name in self.weights.source_ids}
        for source, uv, weight in zip(
            *(getattr(self.weights, name)[self.cell] for name in ("source", "uv", "weight")), strict=True
        ):
            if weight > _LEAST_SHARE / 4:
                taps[self.weights.source_ids[int(source)]].append((float(uv[0]), float(uv[1]), float(weight)))
        return taps


def _telling_cell(proposal: RayProposal, weights: BlendingWeights, true_depth: torch.Tensor) -> int:
    """Return a cell near the middle whose depth is found, that several sources see and one at least does not."""
    grid = weights.grid
    share = [
        torch.where(weights.source == index, weights.weight, 0.0).sum(1) for index in range(len(weights.source_ids))
    ]
    seen = (torch.stack(share) > _LEAST_SHARE).sum(0)
    rows, cols = torch.meshgrid(torch.arange(grid.rows) + 0.5, torch.arange(grid.cols) + 0.5, indexing="ij")
    rows, cols = rows.flatten() / grid.rows, cols.flatten() / grid.cols
    height, width = true_depth.shape
    depth = true_depth[(rows * height).long(), (cols * width).long()]
    at = (rows * proposal.grid.rows).long() * proposal.grid.cols + (cols * proposal.grid.cols).long()
    off = (proposal.probability[at] * (proposal.z_depth[at] / depth[:, None] - 1).abs()).sum(1)
    is_telling = (seen >= 3) & (seen < len(weights.source_ids)) & (weights.coverage > 0.9) & (off < _CERTAIN)
    far = (rows - 0.5) ** 2 + (cols - 0.5) ** 2
    return int(torch.where(is_telling if bool(is_telling.any()) else weights.coverage > 0.9, far, torch.inf).argmin())


def draw_flicker(lifted: LiftedScene, path: Path) -> None:
    """Write the path of the camera, forth and back: image, 2D answer, lifted answer."""
    columns = {"image": "the camera moves", "2D": "2D: every view alone", "lifted": "lifted: all views together"}
    forth = []
    for target in lifted.targets:
        # The photograph is drawn anew at the size at which it is shown; answers are as small as they are.
        pictures = {**lifted.pictures(target), "image": _picture(lifted.scene.view(target).load(_PANEL_PX[1]))}
        forth.append(_titled([(columns[name], pictures[name]) for name in columns]))
    frames = [*forth, *forth[-2:0:-1]]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=_FRAME_MS, loop=0, quality=42, method=6)


def _titled(panels: list[tuple[str, Picture | None]]) -> Image.Image:
    width, height = _PANEL_PX
    sheet = Image.new("RGB", (width * len(panels) + 4 * (len(panels) - 1), height + _TITLE_PX), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, (title, picture) in enumerate(panels):
        left = index * (width + 4)
        pen.text((left + 4, 4), title, fill=_INK, font=ImageFont.load_default(15))
        if picture is not None:
            pixels = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
            sheet.paste(pixels.resize(_PANEL_PX, Image.Resampling.NEAREST), (left, _TITLE_PX))
    return sheet


def draw_taps(spot: Spot, path: Path) -> None:
    """Write the target with its cell, the depth along its ray, coverage, and the sources with their taps."""
    figure = _figure(13.0, 4.0)
    axes = figure.subplot_mosaic("TPabc;TCdef", width_ratios=[2.2, 1, 1, 1, 1])
    _show(axes["T"], _picture(spot.frames[spot.target.id]), "target: the cell that is asked about")
    axes["T"].plot(*spot.uv, marker="+", markersize=18, markeredgewidth=3, color=_ACCENT)
    _plot_ray(axes["P"], spot)
    _show(axes["C"], spot.coverage(), "coverage: bright is seen")
    for key, (name, places) in zip("abcdef", spot.taps().items(), strict=True):
        share = sum(weight for _, _, weight in places)
        said = f"{share:.0%}" if places else "does not see it"
        _show(axes[key], _picture(spot.frames[name]), f"source {name}: {said}")
        _ring(axes[key], places)
    _save(figure, path)


def draw_line(spot: Spot, lifted: LiftedScene, path: Path) -> None:
    """Write the stages from left to right, each by what it gives."""
    pictures = lifted.pictures(spot.target.id)
    source = next(name for name, places in spot.taps().items() if places)
    plain = lifted.plain(source)
    features = None if plain is None else lifted.colours.pca.picture(plain.lifted[0].features.values)
    grid = spot.proposal.grid
    depth = (spot.proposal.probability * spot.proposal.z_depth).sum(1).reshape(grid.rows, grid.cols)
    figure = _figure(9.0, 5.0)
    axes = list(figure.subplots(2, 3).flat)
    shown = [
        (_picture(spot.frames[source]), "1 · views"),
        (features, "2 · encode: features"),
        (heat_picture(-depth, (float(-depth.max()), float(-depth.min()))), "3 · propose: where surfaces are"),
        (_picture(spot.frames[source]), "4 · weights: which samples count"),
        (
            lifted.colours.pca.picture(lifted.view(spot.target.id).lifted[0].features.values),
            "5 · blend: lifted features",
        ),
        (pictures["lifted"], "6 · decode: the answer"),
    ]
    for axis, (picture, title) in zip(axes, shown, strict=True):
        _show(axis, picture, title)
    _ring(axes[3], spot.taps()[source])
    _save(figure, path)


def _plot_ray(axis: Axes, spot: Spot) -> None:
    grid, target = spot.proposal.grid, spot.target.camera.size
    col, row = int(spot.uv[0] / target.width * grid.cols), int(spot.uv[1] / target.height * grid.rows)
    cell = row * grid.cols + col
    depth, probability = spot.proposal.z_depth[cell], spot.proposal.probability[cell]
    axis.set_xlim(float(spot.proposal.z_depth.min()), float(spot.proposal.z_depth.max()))
    order = depth.argsort()
    axis.vlines(depth[order], 0, probability[order], color=_ACCENT, linewidth=3)
    axis.set_title("proposal: where its ray ends", fontsize=9)
    axis.set_xlabel("depth", fontsize=8)
    axis.set_ylabel("probability", fontsize=8)
    axis.set_ylim(0, 1)
    axis.tick_params(labelsize=7)


def _ring(axis: Axes, places: list[tuple[float, float, float]]) -> None:
    for u, v, weight in places:
        axis.scatter(u, v, s=40 + 900 * weight, facecolors="none", edgecolors=_ACCENT, linewidths=2.5)


def _show(axis: Axes, picture: Picture | None, title: str) -> None:
    if picture is not None:
        axis.imshow(np.clip(picture, 0, 1), interpolation="nearest")
    axis.set_title(title, fontsize=9, color=_INK)
    axis.set_xticks([])
    axis.set_yticks([])


def _picture(frame: Frame) -> Picture:
    return frame.image.permute(1, 2, 0).numpy()


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), facecolor=_PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    Image.open(buffer).convert("RGB").save(path, quality=60, method=6)


if __name__ == "__main__":
    main()
