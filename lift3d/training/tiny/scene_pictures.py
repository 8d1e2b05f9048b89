"""Labelled pictures of computed scenes, rendered small and held in memory."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.errors import ConfigError
from lift3d.synthetic.families import build_world
from lift3d.synthetic.objects import FIRST_EVALUATION_SEED
from lift3d.synthetic.reader import SCHEME, ProceduralReader

# Those whose classes have typical hues and sizes (lift3d.synthetic.stage).
FAMILIES = ("room", "tabletop", "shelf", "street", "forest")


@dataclass(frozen=True, slots=True, eq=False)
class ScenePicture:
    """One view of a computed scene.

    Attributes:
        image: sRGB in [0, 1].
        labels: Class ids of the family.
        patterns: Which regular pattern each pixel's surface has (lift3d.synthetic.world.Pattern).
        z_depth: Metres.
    """

    image: Float[Tensor, "3 height width"]
    labels: Int[Tensor, "height width"]
    patterns: Int[Tensor, "height width"]
    z_depth: Float[Tensor, "height width"]


@dataclass(frozen=True, slots=True)
class Shot:
    """How scenes are photographed.

    Attributes:
        views: Pictures per scene, spread along the family's path.
        height: Pixels; the width is four thirds of it.
        fov_deg: Horizontal field of view, degrees.
        spacing: Usual steps between pictures.
    """

    views: int = 4
    height: int = 96
    fov_deg: float = 62.0
    spacing: float = 7.0


def scene_pictures(family: str, seeds: Iterable[int], shot: Shot) -> list[ScenePicture]:
    """Render pictures of a family's scenes; for training use training_pictures.

    Args:
        family: Of procedural scenes.
        seeds: Which scenes.
        shot: How they are photographed.
    """
    pictures = []
    for seed in seeds:
        query = f"seed={seed}&views={shot.views}&height={shot.height}&width={shot.height * 4 // 3}"
        location = f"{SCHEME}{family}?{query}&fov_deg={shot.fov_deg}&spacing={shot.spacing}"
        pattern_of = _patterns(family, seed)
        for view in ProceduralReader().read(location).views:
            frame = view.load()
            if frame.labels is None or frame.instances is None or frame.z_depth is None:
                raise ConfigError(f"Scene '{location}' has no labels or depth; train on scenes that have.")
            pictures.append(ScenePicture(frame.image, frame.labels, pattern_of[frame.instances], frame.z_depth))
    return pictures


def training_pictures(family: str, seeds: Iterable[int], shot: Shot) -> list[ScenePicture]:
    """Render pictures to train on.

    Raises:
        ConfigError: If a seed belongs to evaluation.
    """
    wanted = list(seeds)
    kept = [seed for seed in wanted if seed >= FIRST_EVALUATION_SEED]
    if kept:
        raise ConfigError(f"Seeds {kept} are for evaluation; train on seeds below {FIRST_EVALUATION_SEED}.")
    return scene_pictures(family, wanted, shot)


def _patterns(family: str, seed: int) -> Int[Tensor, " instance"]:
    surfaces = build_world(family, seed).surfaces
    table = torch.zeros(1 + max(one.instance for one in surfaces), dtype=torch.int64)
    for one in surfaces:
        table[one.instance] = int(one.paint.pattern)
    return table
