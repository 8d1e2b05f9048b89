"""Generators and editors of pictures that are run on each view by itself, with another seed each: made one scene again.

What a black box made of the views lies in files, as it would if it ran elsewhere; ``files:FOLDER?kind=image`` reads
them. Its chance is drawn here from the name of the view: how the photograph that it is shown is exposed, and its noise,
or, of the editor of colours that needs no weights, by how much it turns them.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.bench.consistency import METRICS
from lift3d.bench.consistency import measure as measure_agreement
from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.config import parse_recipe
from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.domain.records import RAW2D
from lift3d.domain.scene import Scene
from lift3d.errors import ConfigError
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import Operator, PrecomputedOperator
from lift3d.results.opened import open_lifted
from lift3d.scenes.catalog import read_scene

SCENES = ("procedural:room?seed=9000&views=24",)
_HEIGHT, _EVERY = 144, 8
# An editor of colours that is told to make the scene warmer, and does so by another amount in every view.
EDITOR = "editor"
_TURN_RAD, _WARMER = 0.35, 0.15
# How differently a generator sees each view: stops of exposure, and noise.
_STOPS, _NOISE = 0.4, 0.03

Image = Float[Tensor, "3 height width"]
Maker = Callable[[Image, np.random.Generator | None], Image]


def measure(asked: Asked) -> list[SystemRow]:
    """Make pictures of every view by chance, lift them, and tell what is left of their disagreement."""
    return [row for name in asked.operators or (EDITOR,) for row in _rows(asked, name)]


def _rows(asked: Asked, name: str) -> list[SystemRow]:
    scene = read_scene(asked.scene)
    make = edited if name == EDITOR else _generator(build_operator(name, asked.plugins))
    with TemporaryDirectory(prefix="generated-") as folder:
        meant = written(scene, make, Path(folder), _HEIGHT)
        recipe = parse_recipe(
            {
                "scenes": (asked.scene,),
                "operators": (f"files:{folder}?kind=image",),
                "metrics": METRICS,
                "image_height": _HEIGHT,
                "holdout": _EVERY,
                "target_mode": "refine",
            }
        )
        (agreement,) = measure_agreement(recipe, asked.store)
    lifted = open_lifted(asked.store, run_id=recipe.run_id)
    here, alone = (
        float(np.mean([_psnr(one.prediction.values, meant[one.target], one.prediction.is_valid) for one in views]))
        for views in (lifted.views(), filter(None, map(lifted.plain, lifted.targets)))
    )
    own, plain = agreement.lifters[lifted.lifter], agreement.lifters[RAW2D]
    details: dict[str, float] = {
        what: own[what].value for what in ("sharpness", "gram", "seam", "coverage") if what in own
    }
    # One witness, that disagrees with others itself: not what is judged.
    details |= {"PSNR to own answer without chance": here, "the same, each view alone": alone}
    return [
        SystemRow(
            "generators", f"{scene.id}, {name}", "disagreement left, 15–45°", False, own["left_long"].value,
            {"each view alone": plain["left_long"].value}, {"none": 0.0}, details,
        )
    ]  # fmt: skip


def written(scene: Scene, make: Maker, folder: Path, height: int) -> dict[str, Image]:
    """Write what is made of each view by its own chance, and return what would be made without any."""
    meant = {}
    for view in scene.views:
        image = view.load(height).image
        pixels = (255 * make(image, np.random.default_rng(zlib.crc32(view.id.encode())))).round().byte()
        cv2.imwrite(str(folder / f"{view.id}.png"), pixels.permute(1, 2, 0).numpy()[..., ::-1])
        meant[view.id] = make(image, None)
    return meant


def _generator(operator: Operator) -> Maker:
    """Return what an operator paints of a photograph that it is shown exposed and with noise by chance."""
    if operator.spec.prediction_kind != "image" or isinstance(operator, PrecomputedOperator):
        raise ConfigError(
            f"'{operator.spec.name}' generates no pictures: it gives {operator.spec.prediction_kind}. Name an operator "
            f"of images, or '{EDITOR}'."
        )

    def make(image: Image, chance: np.random.Generator | None) -> Image:
        if chance is not None:
            noise = torch.from_numpy(chance.normal(0, _NOISE, image.shape)).to(image)
            image = (image * 2 ** chance.uniform(-_STOPS, _STOPS) + noise).clamp(0, 1)
        size = ImageSize(*image.shape[-2:])
        return operator.decode(operator.encode(image), EMPTY_STATE, size).values.clamp(0, 1)

    return make


def edited(image: Image, chance: np.random.Generator | None) -> Image:
    """Return an image in warmer colours; by chance warmer than was meant, or less, and turned about grey."""
    warmer, turn = _WARMER, 0.0
    if chance is not None:
        warmer, turn = _WARMER * chance.uniform(0, 2), chance.uniform(-_TURN_RAD, _TURN_RAD)
    # Rodrigues' rotation about (1, 1, 1).
    turned = torch.from_numpy(cv2.Rodrigues(np.full(3, turn / np.sqrt(3)))[0]).to(image)
    gains = torch.tensor([1 + warmer, 1.0, 1 - warmer]).to(image)
    return (gains[:, None, None] * torch.einsum("dc,chw->dhw", turned, image)).clamp(0, 1)


def _psnr(picture: Image, true: Image, where: Bool[Tensor, "height width"]) -> float:
    error = float((picture - true).square()[:, where].mean())
    return -10 * float(np.log10(max(error, 1e-10)))
