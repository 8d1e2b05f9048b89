"""The exact things of a computed world, whole, as points of their surfaces; whether what is said of them is right."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial import cKDTree

from lift3d.domain.camera import Camera
from lift3d.domain.keys import ViewId
from lift3d.domain.scene import Scene
from lift3d.results.questions.asking import LENGTHS, Question
from lift3d.results.questions.spatial import NUMBER
from lift3d.results.questions.templates import choice, the
from lift3d.synthetic.families import FAMILIES, build_world
from lift3d.synthetic.reader import ProceduralSpec
from lift3d.synthetic.world import Shape, Solid

# Samples along a side of a solid, and directions that extents are looked for along.
_SAMPLES, _DIRECTIONS = 50, 720

Points = Float[ndarray, "point 3"]


@dataclass(frozen=True, eq=False)
class TrueThing:
    """A thing as it was built: its instance, name and points; up is z, units are metres.

    ``size`` and ``middle`` are those of the smallest upright box.
    """

    instance: int
    name: str
    xyz: Points
    size: tuple[float, float, float]
    middle: Float[ndarray, "3"]
    longest: float

    @classmethod
    def of(cls, instance: int, name: str, xyz: Points) -> "TrueThing":
        """Measure points."""
        angles = np.linspace(0, np.pi / 2, _DIRECTIONS, endpoint=False)
        cos, sin = np.cos(angles), np.sin(angles)
        area = np.ptp(xyz[:, :2] @ [cos, sin], axis=0) * np.ptp(xyz[:, :2] @ [-sin, cos], axis=0)
        best = int(area.argmin())
        axes = np.array([[cos[best], sin[best], 0], [-sin[best], cos[best], 0], [0, 0, 1]])
        low, high = (xyz @ axes.T).min(0), (xyz @ axes.T).max(0)
        x, y, z = (high - low).tolist()
        index = np.arange(_DIRECTIONS) + 0.5
        height, turn = index / _DIRECTIONS, np.pi * (1 + 5**0.5) * index
        across = np.sqrt(1 - height**2)
        longest = np.ptp(xyz @ [across * np.cos(turn), across * np.sin(turn), height], axis=0).max()
        return cls(instance, name, xyz, (x, y, z), (low + high) / 2 @ axes, float(longest))

    @cached_property
    def tree(self) -> cKDTree:
        """Its points, to be searched."""
        return cKDTree(self.xyz)


@dataclass(frozen=True, slots=True, eq=False)
class TrueThings:
    """The things of a world, and its cameras."""

    things: tuple[TrueThing, ...]
    cameras: Mapping[ViewId, Camera]

    @classmethod
    def of(cls, scene: Scene) -> "TrueThings":
        """Build the world of a computed scene."""
        spec = ProceduralSpec.parse(scene.location)
        world = build_world(spec.family, spec.seed, has_plain_walls=bool(spec.plain))
        label_names = FAMILIES[spec.family].label_names
        parts: dict[int, list[Points]] = {}
        names: dict[int, str] = {}
        for solid in world.solids:
            if solid.shape != Shape.SHELL:
                surface = solid.surfaces[0]
                parts.setdefault(surface.instance, []).append(_surface(solid))
                names[surface.instance] = label_names[surface.label]
        things = tuple(TrueThing.of(number, names[number], np.concatenate(own)) for number, own in parts.items())
        return cls(things, {view.id: view.camera for view in scene.views})

    @property
    def names(self) -> dict[int, str]:
        """Names by instance."""
        return {one.instance: one.name for one in self.things}

    def is_right(self, question: Question) -> bool:
        """Whether an answer is right: a length within a tenth, a count or a relation exactly.

        Wrong, too, where no thing, or several, have the name that is asked about.
        """
        if question.kind == "count":
            return question.value == [one.name for one in self.things].count(question.names[0])
        own = [[one for one in self.things if one.name == asked] for asked in question.names]
        if any(len(one) != 1 for one in own):
            return False
        true = self._true(question, *(one[0] for one in own))
        if question.kind in LENGTHS:
            return abs(question.value - true) <= NUMBER * true
        return question.answer == choice(question.kind, true, *map(the, question.names))

    def _true(self, question: Question, a: TrueThing, b: TrueThing | None = None) -> float:
        """Return a length, or a number with the sign of a relation."""
        kind = question.kind
        if b is None:
            return {"height": a.size[2], "width": max(a.size[:2]), "longest extent": a.longest}[kind]
        if kind == "distance":
            return float(b.tree.query(a.xyz)[0].min())
        if kind == "taller":
            return a.size[2] - b.size[2]
        if kind == "centre distance":
            return float(np.linalg.norm(a.middle - b.middle))
        if kind in ("higher", "above or below"):
            return float(a.middle[2] - b.middle[2])
        camera = self.cameras[question.view]
        if kind == "nearer":
            first, second = (one.tree.query(camera.center.numpy())[0] for one in (a, b))
            return float(first - second)
        w2c = camera.w2c.numpy()
        first, second = (w2c[:3, :3] @ one.middle + w2c[:3, 3] for one in (a, b))
        if kind == "front or behind":
            return float(first[2] - second[2])
        return float(first[0] / first[2] - second[0] / second[2])


def _surface(solid: Solid) -> Points:
    """Return points all over a solid."""
    line = np.linspace(-1, 1, _SAMPLES)
    across, along = (one.ravel() for one in np.meshgrid(line, line))
    if solid.shape == Shape.BOX:
        faces = [np.stack([across, along, np.full_like(along, side)], 1) for side in (-1, 1)]
        xyz = np.concatenate([np.roll(face, turn, axis=1) for face in faces for turn in range(3)])
    else:
        angle = np.pi * across
        # Of a tube the ends are discs.
        radius = np.sqrt(1 - along**2) if solid.shape == Shape.BALL else np.ones_like(along)
        xyz = np.stack([radius * np.cos(angle), radius * np.sin(angle), along], 1)
        if solid.shape == Shape.TUBE:
            disc = np.stack([along * np.cos(angle), along * np.sin(angle), np.ones_like(along)], 1)
            xyz = np.concatenate([xyz, disc, disc * [1, 1, -1]])
    cos, sin = np.cos(solid.yaw), np.sin(solid.yaw)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    placed: Points = xyz * solid.half_size @ turn.T + np.array(solid.center)
    return placed
