"""What a tuning sees of each view: the tokens that enter the tuned blocks, and its lifted features; computed once.

A view's own answer is not among those that its lifted features are made of (leave-one-out): what it is tuned to say of
a place is what the others say of it.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch
from jaxtyping import Float, Float16
from safetensors.torch import load_file, save_file
from torch import Tensor

from lift3d.config import Recipe
from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.domain.keys import digest, parse_json
from lift3d.domain.target import Target
from lift3d.errors import ConfigError, NoOverlapError, StoreLayoutError
from lift3d.operators.timm_tail import SplitEncoder
from lift3d.pipeline.anchor import OnSurface
from lift3d.pipeline.decode import Answers
from lift3d.pipeline.encode import encode_view
from lift3d.pipeline.fit import fitted_state
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.surface import scene_surface
from lift3d.pipeline.targets import choose_targets
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.storage.whole_file import whole
from lift3d.surface.anchored import Anchored
from lift3d.training.settings import location_name
from lift3d.training.tuning.settings import TuningSettings

# Raised when the same view would give other tokens or lifted features.
_VERSION = 1
# Cells that more views see through than show do not count, and views with few that do are left out.
_LEAST_COVERAGE, _LEAST_CELLS = 0.5, 8
# Tokens are kept in half precision; features of them differ from the encoder's own by no more than this.
_LEAST_COSINE = 0.999
_LIST = "views.json"

OnView = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class TuningView:
    """One view, as a step learns from it.

    Attributes:
        tokens: That enter the tuned blocks.
        lifted: Features on the encoder's own cells; NaN where nothing was lifted.
        plain: The encoder's features before tuning, on the same cells.
        size: Of the image.
    """

    tokens: Float16[Tensor, "token channel"]
    lifted: Float16[Tensor, "channel row col"]
    plain: Float16[Tensor, "channel row col"]
    size: ImageSize

    def write(self, path: Path) -> None:
        """Write it to a file of its own."""
        size = torch.tensor([self.size.height, self.size.width])
        tensors = {"tokens": self.tokens, "lifted": self.lifted, "plain": self.plain, "size": size}
        with whole(path) as partial:
            save_file(tensors, partial)

    @classmethod
    def read(cls, path: Path) -> "TuningView":
        """Read a view; StoreLayoutError if it is damaged."""
        try:
            held = load_file(path)
            return cls(held["tokens"], held["lifted"], held["plain"], ImageSize(*held["size"].tolist()))
        except (OSError, KeyError, ValueError, TypeError, safetensors.SafetensorError) as error:
            raise StoreLayoutError(
                f"View '{path}' of a tuning is damaged ({error}). Delete its folder; it is made again."
            ) from error


@dataclass(frozen=True, slots=True)
class TuningScene:
    """What a card says of a scene that is tuned on, and its views in order; ``content`` is the digest of its views."""

    name: str
    content: str
    views: tuple[Path, ...]


def prepared_scene(settings: TuningSettings, split: SplitEncoder, location: str, on_view: OnView) -> TuningScene:
    """Return a scene whose views lie in the folder of a run; what is missing is computed, by the line that runs use.

    Features and surfaces come from the store, if it has them. ConfigError if the encoder does not split.
    """
    store = open_store(settings.store or str(settings.folder.absolute() / "store"), create=True)
    inputs = SceneInputs(read_scene(location), store, settings.image_height)
    inputs.decode_all(quiet)
    content = digest([[name, inputs.digests[name]] for name in inputs.views])
    folder = settings.folder / "views" / digest({"scene": content, "encoder": _what_enters(settings, split)})
    if not (folder / _LIST).exists():
        found = list[tuple[str, str]]()
        for name, one in _lifted_views(settings, split, inputs, on_view):
            found.append((f"{len(found):06d}.safetensors", name))
            one.write(folder / found[-1][0])
        about = {"scene": inputs.scene.id, "views": found}
        with whole(folder / _LIST) as partial:
            partial.write_text(json.dumps(about), encoding="utf-8")
    try:
        about = parse_json((folder / _LIST).read_text(encoding="utf-8"))
        views = tuple(folder / str(file) for file, _ in about["views"])
        return TuningScene(location_name(location), content, views)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StoreLayoutError(f"'{folder}' of a tuning is damaged ({error}). Delete it; it is made again.") from error


def _what_enters(settings: TuningSettings, split: SplitEncoder) -> list[str | int | None]:
    spec, stage = split.operator.spec, split.operator.stage
    height, geometry = settings.image_height, settings.geometry
    # A name may say where weights lie; what they are is in their digest.
    return [
        _VERSION,
        spec.weights_digest,
        spec.stage_version,
        stage,
        split.first,
        height,
        geometry,
        str(spec.stride_px),
    ]


def _lifted_views(
    settings: TuningSettings, split: SplitEncoder, inputs: SceneInputs, on_view: OnView
) -> Iterator[tuple[str, TuningView]]:
    """Yield the views of which enough is lifted, each with its id."""
    operator = split.operator
    recipe = Recipe(scenes=("-",), image_height=settings.image_height, target_mode="heldout")
    targets = choose_targets(tuple(inputs.views.values()), recipe)
    inputs.encode(operator, set(inputs.views), quiet)
    surface = scene_surface(inputs, settings.geometry, list(inputs.views), quiet).surface
    state = fitted_state(inputs, operator, surface.ids)
    on = OnSurface(inputs, Answers(inputs), operator, state, surface.ids, recipe.tap_count)
    for done, target in enumerate(targets):
        on_view(done, len(targets))
        try:
            anchored = Anchored().anchor(surface, target.camera, target.source_ids, recipe.tap_count)
        except NoOverlapError:
            continue
        lifted = on.lift(target, anchored).lifted[0]
        counts = torch.isfinite(lifted.features.values).all(0) & (lifted.coverage > _LEAST_COVERAGE)
        if int(counts.sum()) < _LEAST_CELLS:
            continue
        values = torch.where(counts, lifted.features.values, torch.nan)
        yield target.id, _entered(split, inputs, target, values)


def _entered(
    split: SplitEncoder, inputs: SceneInputs, target: Target, lifted: Float[Tensor, "channel row col"]
) -> TuningView:
    """Encode a view once more, and keep what enters the tail."""
    frame = inputs.frame(target.id)
    with split.listening() as entered:
        (plain,) = encode_view(split.operator, frame, target.id)
    size = frame.camera.size
    with torch.inference_mode():
        again = split.features(split.tail(), entered[0][0].half().float(), size)
    _check_split(split, again, plain, lifted)
    tokens, goal, before = (one.half().cpu().clone() for one in (entered[0][0], lifted, plain.values))
    return TuningView(tokens, goal, before, size)


def _check_split(
    split: SplitEncoder, again: FeatureMap, plain: FeatureMap, lifted: Float[Tensor, "channel row col"]
) -> None:
    """ConfigError unless the tail makes the encoder's features of what enters it, on the cells that were lifted."""
    name = split.operator.spec.name
    if again.grid != plain.grid or lifted.shape != plain.values.shape:
        raise ConfigError(
            f"Operator '{name}' gives cells {plain.grid.shape}, its last blocks {again.grid.shape}, and "
            f"{tuple(lifted.shape[1:])} were lifted; expected the same. Use another network.",
            operator=name,
        )
    cosine = torch.cosine_similarity(again.values.flatten(1), plain.values.flatten(1), dim=0)
    if not float(cosine.min()) > _LEAST_COSINE:
        raise ConfigError(
            f"The last blocks of operator '{name}' do not make its features of what enters them (cosine "
            f"{float(cosine.min()):.3f}, expected 1): something else is done to them. Use another network.",
            operator=name,
        )


@dataclass(frozen=True, slots=True)
class TuningViews:
    """Number of a step to its views: every view comes once before any comes again."""

    paths: tuple[Path, ...]
    seed: int
    count: int

    def __call__(self, step: int) -> tuple[TuningView, ...]:
        """Read the views of a step."""
        chosen = []
        for number in range(step * self.count, (step + 1) * self.count):
            epoch, position = divmod(number, len(self.paths))
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.paths))
            chosen.append(TuningView.read(self.paths[int(order[position])]))
        return tuple(chosen)


def divided(scenes: tuple[TuningScene, ...], step: int) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the views to tune on, and every N-th of each scene, which is not; ConfigError if there are too few."""
    tuned = tuple(path for scene in scenes for at, path in enumerate(scene.views) if at % step != step // 2)
    held_out = tuple(path for scene in scenes for at, path in enumerate(scene.views) if at % step == step // 2)
    if not tuned or not held_out:
        found = ", ".join(f"{scene.name} {len(scene.views)}" for scene in scenes)
        raise ConfigError(
            f"Of views with lifted features there are {found}: with every {step}th held out, {len(tuned)} are left to "
            f"tune on and {len(held_out)} to tell how it goes. Add views or scenes, or lower --holdout."
        )
    return tuned, held_out
