"""The answers of one operator in one scene, lifted by one lifter, as an object that draws and converts."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Shaped

from lift3d.config import Recipe
from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedDepth, LiftedView
from lift3d.domain.records import RAW2D, SceneRecord
from lift3d.domain.scene import FRAME_MAPS, Frame, Scene
from lift3d.errors import Lift3dError, SceneError, UnknownNameError
from lift3d.pipeline.bounded_cache import BoundedCache
from lift3d.pipeline.products import FIRST_CUT, PREDICTION
from lift3d.pipeline.stored_views import (
    most_cells,
    part_of_each_view,
    read_lifted,
    read_lifted_cameras,
    read_lifted_depths,
)
from lift3d.results.colours import Picture, SceneColours, difference_picture, hatched, heat_picture
from lift3d.results.picture_rows import COLUMNS, PictureRow, spread
from lift3d.runs.driver import named_scene
from lift3d.runs.table import run_table
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import Store
from lift3d.storage.products import Product, open_product, understood
from lift3d.tables.aggregation import summary
from lift3d.tables.schema import DataFrame

if TYPE_CHECKING:
    import trimesh
    import xarray

    from lift3d.results.masks.scene_masks import SceneMasks
    from lift3d.results.pictures import Sheet
    from lift3d.results.query.ask import SceneQuery
    from lift3d.results.query.found import Found
    from lift3d.results.questions.scene_questions import SceneQuestions
    from lift3d.results.tracks import SceneTracks
    from lift3d.surface.scene_surface import SceneSurface

# A range of depths is told by so many views, and leaves out the few places that lie far out.
_DEPTHS_ASKED, _RANGE_SHARES = 4, (0.02, 0.98)
# Pictures of a photograph, and of what was said of it alone.
_OF_PHOTOGRAPHS = ("image", "2D", "difference")
# Of photographs that are kept for who looks at them again and again.
_KEPT_BYTES = 2**28


@dataclass(slots=True)
class HeldCapture:
    """What is read of a capture once, for all that was lifted of it; photographs only while someone asks for that."""

    scene: Scene | None = None
    frames: BoundedCache[Frame] | None = None


@dataclass(frozen=True, eq=False)
class LiftedScene:
    """One operator in one scene, lifted by one lifter, beside its plain 2D answers. Reads the store when asked.

    Memory is that of two stored parts (64 views each), whatever the size of the scene.

    Attributes:
        name: What the scene is called in the run's table.
        reads_capture: Whether the capture may be read that the recipe names: a store is data, and may be a stranger's.
        trusted: Plug-ins and files of models that the user named himself: of those that the store names, no others are
            loaded, for words, names of labels, and cameras that nobody took a picture from.
    """

    store: Store
    recipe: Recipe
    record: SceneRecord
    name: str
    operator: str
    lifter: str
    reads_capture: bool = False
    trusted: tuple[str, ...] = ()
    # Shared by all of one record: to read a capture takes seconds.
    _capture: HeldCapture = field(default_factory=HeldCapture, repr=False)
    # Where there are no others for whoever looks: see ``only``.
    _chosen: tuple[ViewId, ...] | None = None

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Ids of the views that were lifted, in the order of the camera path."""
        return tuple(self._parts)

    @property
    def title(self) -> str:
        """Scene, operator and lifter, as people read them."""
        return f"{self.name} · {self.operator} · {self.lifter}"

    @property
    def compared(self) -> tuple[str, ...]:
        """Targets that have a plain 2D answer, too; all where none has one, as along novel cameras."""
        return tuple(target for target in self.targets if not self._plain_parts or target in self._plain_parts)

    @property
    def scene(self) -> Scene:
        """The scene itself: cameras, and images where they can still be read.

        Raises:
            Lift3dError: If the capture is not where it was, or may not be read.
        """
        location = self.record.location
        if not self.reads_capture:
            raise SceneError(
                f"The capture '{location}' of '{self.name}' lies outside the store, and the run that names it was not "
                "begun by you on this machine. If you trust the store, --captures (in Python captures=True) reads it.",
                scene=self.name,
            )
        if self._capture.scene is None:
            self._capture.scene = named_scene(read_scene(location), location, self.recipe)
        return self._capture.scene

    def hold(self, scene: Scene) -> None:
        """Take the scene that was lifted, so that it need not be read again."""
        self._capture.scene = named_scene(scene, self.record.location, self.recipe)

    @contextmanager
    def photographs_kept(self) -> Iterator[None]:
        """Load each photograph once inside the block, for all that was lifted of the capture; 256 MiB are kept."""
        self._capture.frames = BoundedCache(_frame_bytes, _KEPT_BYTES)
        try:
            yield
        finally:
            self._capture.frames = None

    def only(self, targets: Collection[ViewId]) -> "LiftedScene":
        """Return some of the views as if there were no others, for a first look; once read, all of them are held."""
        return replace(self, _chosen=tuple(target for target in self.targets if target in targets))

    @property
    def is_part(self) -> bool:
        """Whether these are only some of the views."""
        return self._chosen is not None

    def view(self, target: str) -> LiftedView:
        """Return one lifted view; UnknownNameError if it is none of ``targets``."""
        return self._read(self._parts, target)

    def plain(self, target: str) -> LiftedView | None:
        """Return the operator's plain 2D answer on the true view in the same form; None for a novel camera."""
        return self._read(self._plain_parts, target) if target in self._plain_parts else None

    def views(self) -> Iterator[LiftedView]:
        """Yield all lifted views, one stored part in memory at a time."""
        return (self.view(target) for target in self.targets)

    def depths(self) -> Iterator[LiftedDepth]:
        """Yield cameras and depths of all lifted views; of features nothing is read."""
        return (one for product in self._products(self.lifter) for one in read_lifted_depths(product, self._chosen))

    def cameras(self) -> Iterator[tuple[ViewId, Camera, FeatureGrid]]:
        """Yield ids, cameras and feature grids of all lifted views; of features nothing is read."""
        return (one for product in self._products(self.lifter) for one in read_lifted_cameras(product, self._chosen))

    @property
    def cell_count(self) -> int:
        """Cells of the finest grid of the first view, from attributes alone."""
        return most_cells(self._products(self.lifter)[0])

    def features(self, target: str, cut: int = 0) -> Float[np.ndarray, "channel row col"]:
        """Return lifted features; NaN where nothing was seen."""
        values: Float[np.ndarray, "channel row col"] = self.view(target).lifted[cut].features.values.numpy()
        return values

    def prediction(self, target: str) -> Shaped[np.ndarray, "..."]:
        """Return what the decoder says: (height, width) of labels or scalars, (channel, height, width) of the rest."""
        values: Shaped[np.ndarray, ...] = self.view(target).prediction.values.numpy()
        return values

    def to_numpy(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Return the predictions of all views by target; they may differ in size."""
        return {view.target: view.prediction.values.numpy() for view in self.views()}

    def to_xarray(self) -> "xarray.Dataset":
        """Return features, coverage, z-depth, predictions and cameras of all views along the dimension ``view``.

        What is read is verified, when it is asked for.
        """
        (path,) = self.record.parts(self.operator, self.lifter)
        product = open_product(self.store, path)
        data: xarray.Dataset = product.to_xarray()
        with understood(product, "The list of views"):
            if PREDICTION not in data and product.attrs.get("prediction_is") == FIRST_CUT:
                answers = data.variables[FIRST_CUT].copy(deep=False)
                answers.dims = ("view", "prediction_channel", "prediction_row", "prediction_col")
                data = data.assign({PREDICTION: answers})
            return data if data.sizes["view"] == len(self.targets) else data.sel(view=list(self.targets))

    def to_pandas(self) -> DataFrame:
        """Return every score row of this lifter and of raw2d, its ceiling of fidelity and floor of consistency."""
        frame = run_table(self.store, self.recipe.run_id).frame
        wanted = (frame["scene"] == self.name) & (frame["operator"] == self.operator)
        return frame[wanted & frame["lifter"].isin([self.lifter, RAW2D])].reset_index(drop=True)

    def scores(self) -> DataFrame:
        """Return the means: a line for this lifter and one for raw2d under each protocol, a column per metric."""
        lines = summary(run_table(self.store, self.recipe.run_id).where(scene=self.name, operator=self.operator))
        known = lines[lines["lifter"].isin([self.lifter, RAW2D])]
        return known.dropna(axis="columns", how="all").reset_index(drop=True)

    def pictures(
        self, target: str, colours: SceneColours | None = None, columns: Sequence[str] = COLUMNS
    ) -> PictureRow:
        """Return what can be drawn of a view: (height, width, 3) in [0, 1] by column, or None.

        Of photographs and of what was said of them, pixels that a mask hides, or that a lens has lost, are hatched.

        Args:
            target: The view.
            colours: Those of another lifted scene, to compare with it; its own if None.
            columns: Which of COLUMNS; to load or compute a photograph may take seconds.
        """
        used = colours or self.colours
        lifted, plain = self.view(target), self.plain(target)
        finest, sure = LiftedDepth.of(lifted).z_depth, lifted.lifted[0].confidence
        frame = self.frame(target) if {*columns} & {*_OF_PHOTOGRAPHS} else None

        def marked(picture: Picture) -> Picture:
            return picture if frame is None else hatched(picture, ~frame.is_valid.numpy())

        draw: dict[str, Callable[[], Picture | None]] = {
            "image": lambda: None if frame is None else marked(_photograph(frame)),
            "2D": lambda: None if plain is None else marked(used.picture(plain.prediction)),
            "lifted": lambda: used.picture(lifted.prediction),
            "difference": lambda: (
                None if plain is None else marked(difference_picture(plain.prediction, lifted.prediction))
            ),
            "depth": lambda: heat_picture(1 / finest, self.nearness) if bool(finest.isfinite().any()) else None,
            "coverage": lambda: heat_picture(lifted.lifted[0].coverage),
            "confidence": lambda: None if sure is None else heat_picture(sure),
        }
        return {name: draw[name]() for name in columns}

    def image(self, target: str) -> Picture | None:
        """Return the photograph at the height of the run; None for a novel camera, and if the capture has gone."""
        frame = self.frame(target)
        return None if frame is None else _photograph(frame)

    def frame(self, target: str) -> Frame | None:
        """Return the photograph with its maps, as ``image`` does."""
        try:
            view, kept = self.scene.view(target), self._capture.frames
            height = self.recipe.image_height
            return view.load(height) if kept is None else kept.get(target, lambda: view.load(height))
        except Lift3dError:
            return None

    def show(self, target: str | None = None) -> "Sheet":
        """Return a figure: image | 2D | lifted | difference | coverage. Notebooks show it, ``savefig`` writes it."""
        # Who only reads need not wait for Matplotlib.
        from lift3d.results.pictures import draw_row

        name = self.targets[len(self.targets) // 2] if target is None else target
        return draw_row(self.title, name, self.pictures(name))

    def ask(self) -> "SceneQuery":
        """Return the scene's points with their features, to be asked by words and clicks. NoOverlapError if none."""
        from lift3d.results.query.ask import SceneQuery

        return SceneQuery.of(self)

    @property
    def surface(self) -> "SceneSurface":
        """The scene's one surface: depth, confidence and quality per cell of each view."""
        from lift3d.results.cloud import surface_of

        return surface_of(self)

    def mesh(self) -> "trimesh.Trimesh":
        """Return the triangles of the surface, in the scene's world, with colours of the prediction."""
        from lift3d.results.exports.gltf import coloured_trimesh

        return coloured_trimesh(self)

    def query(self, what: str | tuple[str, float, float]) -> "Found":
        """Find what words name, as "red chair", or what is like a pixel: ``(view, u, v)``.

        To ask often, keep ``ask()``, which holds the scene's points.
        """
        asked = self.ask()
        return asked.words(what) if isinstance(what, str) else asked.click(*what)

    def masks(self, **options: Any) -> "SceneMasks":
        """Merge the views' 2D masks on the surface; options are those of ``lift3d.scene_masks``."""
        from lift3d.results.masks.scene_masks import scene_masks

        return scene_masks(self, **options)

    def tracks(self, points: Sequence[tuple[str, float, float]] = (), **options: Any) -> "SceneTracks":
        """Follow pixels ``(view, u, v)`` through all views; options are those of ``lift3d.scene_tracks``."""
        from lift3d.results.tracks import scene_tracks

        return scene_tracks(self, points, **options)

    def questions(self, **options: Any) -> "SceneQuestions":
        """Ask of the scene's things, and measure the answers; options are those of ``lift3d.scene_questions``."""
        from lift3d.results.questions.scene_questions import scene_questions

        return scene_questions(self, **options)

    def export(self, out: Path | str, form: str | None = None) -> str:
        """Write the scene in another tool's form, told by the suffix of ``out`` if None; return what was written."""
        from lift3d.results.exports.write import export_lifted

        return export_lifted(self, Path(out), form)

    @cached_property
    def colours(self) -> SceneColours:
        """Colours for all views, fitted on the plain answers where there are some."""
        reads = self._plain_parts or self._parts
        return SceneColours.of((self._read(reads, target) for target in reads), len(reads))

    @cached_property
    def nearness(self) -> tuple[float, float]:
        """1 / depth between which most of a few views lies: one range for all of them."""
        found = [1 / self.view(target).lifted[0].z_depth for target in spread(self.targets, _DEPTHS_ASKED)]
        known = torch.cat([one[torch.isfinite(one)] for one in found])
        low, high = np.quantile(known.numpy(), _RANGE_SHARES) if len(known) else (0.0, 1.0)
        return float(low), float(high)

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """What the operator calls labels 0, 1, … as the run noted it; none of stores that did not."""
        parts = self.record.parts(self.operator, self.lifter)
        names = open_product(self.store, parts[0]).attrs.get("label_names", []) if parts else []
        return tuple(map(str, names)) if isinstance(names, list) else ()

    def __repr__(self) -> str:
        """Return one line."""
        return (
            f"LiftedScene('{self.name}', {self.operator}, {self.lifter}: {len(self.targets)} views, {self.store.url})"
        )

    def _repr_html_(self) -> str:
        """Return a row of pictures of the middle view, for notebooks."""
        from base64 import b64encode
        from html import escape

        png = b64encode(self.show()._repr_png_()).decode()
        caption = escape(repr(self))
        picture = f'<img alt="{caption}" src="data:image/png;base64,{png}">'
        return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"

    @cached_property
    def _parts(self) -> dict[str, tuple[Product, int]]:
        return self._parts_of(self.lifter)

    @cached_property
    def _plain_parts(self) -> dict[str, tuple[Product, int]]:
        return self._parts_of(RAW2D)

    @cached_property
    def _held(self) -> dict[str, tuple[int, dict[str, LiftedView]]]:
        return {}

    def _parts_of(self, lifter: str) -> dict[str, tuple[Product, int]]:
        """Return the stored part of each target; where some are chosen, these are one part of each product."""
        every = ((product, part_of_each_view(product)) for product in self._products(lifter))
        if self._chosen is None:
            return {target: (product, number) for product, parts in every for target, number in parts.items()}
        return {target: (product, 0) for product, parts in every for target in parts if target in self._chosen}

    def _products(self, lifter: str) -> list[Product]:
        return [open_product(self.store, path) for path in self.record.parts(self.operator, lifter)]

    def _read(self, parts: Mapping[str, tuple[Product, int]], target: str) -> LiftedView:
        if target not in parts:
            raise UnknownNameError.of("lifted view", target, parts)
        product, number = parts[target]
        path = product.commit.path
        # One part of each lifter is held: whoever walks along the targets reads each part once.
        if path not in self._held or self._held[path][0] != number:
            names = {name for name, (_, other) in parts.items() if other == number}
            self._held[path] = (number, {view.target: view for view in read_lifted(product, names)})
        return self._held[path][1][target]


def _photograph(frame: Frame) -> Picture:
    picture: Picture = frame.image.permute(1, 2, 0).numpy()
    return picture


def _frame_bytes(frame: Frame) -> int:
    maps = (getattr(frame, name) for name in FRAME_MAPS)
    return sum(one.nbytes for one in maps if one is not None)
