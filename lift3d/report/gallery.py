"""The pictures of one operator in one scene: image | 2D | lifted | difference | coverage, and the camera's path."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lift3d.config import Recipe
from lift3d.domain.lifted import LiftedView
from lift3d.domain.records import RAW2D, SceneRecord
from lift3d.domain.scene import Scene
from lift3d.errors import Lift3dError
from lift3d.pipeline.decode import filled_features
from lift3d.pipeline.products import read_lifted_part
from lift3d.report.pictures import Album, Shot
from lift3d.results.colours import Picture, ScenePca, difference_picture, heat_picture, prediction_picture
from lift3d.storage.location import Store
from lift3d.storage.products import open_product

# Two seconds at the pace of the page: enough to see a flicker, few enough to carry.
FRAMES = 12
# Of the room: the walk's twelve pairs take about as much as the gallery's rows of five.
_WALK_SHARE = 0.45
# A page that shows more is scrolled past; the table has them all.
MOST_LIFTERS = 3


@dataclass(frozen=True, slots=True)
class GalleryRow:
    """One target view.

    Attributes:
        target: The view.
        shots: One for each of the contact sheet's COLUMNS; None where there is no such picture.
    """

    target: str
    shots: tuple[Shot | None, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One frame of the walk along the cameras."""

    target: str
    plain: Shot | None
    lifted: Shot

    @property
    def size(self) -> int:
        """Characters of its pictures."""
        return len(self.lifted.url) + (len(self.plain.url) if self.plain else 0)


@dataclass(frozen=True, slots=True)
class LifterPictures:
    """What is shown of one lifter.

    Attributes:
        lifter: Its name.
        rows: A few targets, spread over the scene.
        steps: Targets that follow each other.
        target_count: Targets that it lifted.
        left_out: Rows and steps for which the page has no room.
    """

    lifter: str
    rows: tuple[GalleryRow, ...]
    steps: tuple[Step, ...]
    target_count: int
    left_out: int

    @property
    def size(self) -> int:
        """Characters of the pictures."""
        shots = [shot for row in self.rows for shot in row.shots if shot is not None]
        return sum(len(shot.url) for shot in shots) + sum(step.size for step in self.steps)

    @property
    def has_plain(self) -> bool:
        """Whether there is a 2D answer to compare with; novel cameras have none."""
        return any(step.plain is not None for step in self.steps)


@dataclass(frozen=True, slots=True, eq=False)
class ScenePlace:
    """A scene of a run, as far as it can be shown.

    Attributes:
        store: Where the lifted views lie.
        recipe: For the image height.
        record: The scene's record.
        scene: For the true images; None if it cannot be read here.
    """

    store: Store
    recipe: Recipe
    record: SceneRecord
    scene: Scene | None

    def lifters(self, operator: str) -> list[str]:
        """Return the lifters of an operator that are shown, the recipe's last one first: it is what a run is for."""
        return [lifter for name, lifter in reversed(self.record.pairs) if name == operator][:MOST_LIFTERS]


def operator_pictures(place: ScenePlace, operator: str, view_count: int, room: int) -> list[LifterPictures]:
    """Return the pictures of an operator's lifters.

    Colours are those of the views that are drawn: one PCA for all of them. Of a product, the parts are read that hold
    such views, one after the other.

    Args:
        place: The scene.
        operator: Operator name.
        view_count: Targets in the gallery.
        room: Characters that the pictures of each lifter may take.

    Raises:
        Lift3dError: If a product is missing or damaged.
    """
    parts = {
        one.lifter: {path: _targets_of(place.store, path) for path in one.parts}
        for one in place.record.products
        if one.operator == operator
    }
    plain_parts = parts.pop(RAW2D, {})
    plain_names = {name for names in plain_parts.values() for name in names}
    chosen: dict[str, tuple[list[str], list[str], int]] = {}
    for lifter in place.lifters(operator):
        names = [name for held in parts[lifter].values() for name in held if not plain_names or name in plain_names]
        chosen[lifter] = (spread(names, view_count), _middle(names), len(names))
    wanted = {name for rows, steps, _ in chosen.values() for name in (*rows, *steps)}
    plain = _read_views(place.store, plain_parts, wanted)
    pca: ScenePca | None = None
    found = []
    for lifter, (rows, steps, count) in chosen.items():
        lifted = _read_views(place.store, parts[lifter], {*rows, *steps})
        examples = list((plain or lifted).values())
        if pca is None and examples:
            pca = ScenePca.of((filled_features(view.lifted)[0] for view in examples), len(examples))
        if pca is None:
            found.append(LifterPictures(lifter, (), (), count, 0))
            continue
        drawing = _Drawing(place, plain, lifted, pca)
        walk = Album(int(_WALK_SHARE * room))
        drawn_steps = drawing.steps(steps, walk)
        gallery = Album(room - sum(step.size for step in drawn_steps))
        drawn_rows = drawing.rows(rows, gallery)
        found.append(LifterPictures(lifter, drawn_rows, drawn_steps, count, walk.left_out + gallery.left_out))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Drawing:
    """The views of one lifter on their way into the page."""

    place: ScenePlace
    plain: Mapping[str, LiftedView]
    lifted: Mapping[str, LiftedView]
    pca: ScenePca

    def rows(self, names: Sequence[str], album: Album) -> tuple[GalleryRow, ...]:
        """Return the gallery."""
        found = ((name, album.row(self._pictures(name))) for name in names)
        return tuple(GalleryRow(name, shots) for name, shots in found if shots is not None)

    def steps(self, names: Sequence[str], album: Album) -> tuple[Step, ...]:
        """Return the walk."""
        steps = []
        for name in names:
            plain = self.plain.get(name)
            answer = None if plain is None else prediction_picture(plain.prediction, self.pca)
            row = album.row([answer, prediction_picture(self.lifted[name].prediction, self.pca)])
            if row is not None and row[1] is not None:
                steps.append(Step(name, row[0], row[1]))
        return tuple(steps)

    def _pictures(self, name: str) -> list[Picture | None]:
        lifted, plain = self.lifted[name], self.plain.get(name)
        picture = prediction_picture(lifted.prediction, self.pca)
        coverage = heat_picture(lifted.lifted[0].coverage, (0.0, 1.0))
        if plain is None:
            return [None, None, picture, None, coverage]
        answer = prediction_picture(plain.prediction, self.pca)
        difference = difference_picture(plain.prediction, lifted.prediction)
        return [self._image(name), answer, picture, difference, coverage]

    def _image(self, name: str) -> Picture | None:
        if self.place.scene is None:
            return None
        try:
            frame = self.place.scene.view(name).load(self.place.recipe.image_height)
        except Lift3dError:
            return None  # the image has gone since it was lifted; what the store holds is shown all the same
        picture: Picture = frame.image.permute(1, 2, 0).numpy()
        return picture


def spread(names: Sequence[str], count: int) -> list[str]:
    """Return a few names spread evenly, ends left out: they see least."""
    count = min(count, len(names))
    return [names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)]


def _middle(names: Sequence[str]) -> list[str]:
    """Return names that follow each other: between neighbours, what changes without cause is seen."""
    start = max(0, (len(names) - FRAMES) // 2)
    return list(names[start : start + FRAMES])


def _targets_of(store: Store, path: str) -> list[str]:
    return [view["id"] for view in open_product(store, path).attrs["views"]]


def _read_views(store: Store, parts: Mapping[str, Sequence[str]], wanted: Collection[str]) -> dict[str, LiftedView]:
    """Return the lifted views of some targets."""
    needed = [path for path, names in parts.items() if any(name in wanted for name in names)]
    return {view.target: view for path in needed for view in read_lifted_part(store, path) if view.target in wanted}
