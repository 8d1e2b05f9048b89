"""Small operators for tests: each is exact, fast and free of weights."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId, digest_bytes
from lift3d.domain.lifted import Prediction, PredictionKind
from lift3d.domain.scene import Frame
from lift3d.domain.scene_views import SceneViews
from lift3d.operators.answers import Encoder, Unfitted, at_pixels, pixel_grid, valid_everywhere
from lift3d.operators.depth_alignment import fit_depth
from lift3d.operators.instance_association import fit_instances
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator, OperatorSpec, Quantity

Maps = tuple[FeatureMap, ...]


def image_of(height: int, width: int, seed: int = 0) -> Float[Tensor, "3 height width"]:
    """Smooth colours with some grain."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 2 + height // 12, 2 + width // 12, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
    return (0.8 * smooth + 0.2 * torch.rand(3, height, width, generator=generator)).clamp(0, 1)


def looks_away(
    operator: Operator,
    image: Float[Tensor, "3 height width"],
    cell: tuple[int, int],
    axis: int,
    *,
    step: int,
    across: int,
    strips: int,
) -> float:
    """How far along an axis a cell looks from where its grid says: strips are inverted, weighed by how it minds."""
    plain = operator.encode(image)[0]
    (stride_u, stride_v), (origin_u, origin_v) = plain.grid.placement
    center = (origin_v + stride_v * (cell[0] + 0.5), origin_u + stride_u * (cell[1] + 0.5))
    side = slice(round(center[1 - axis]) - across, round(center[1 - axis]) + across)
    weights, places = [], []
    for start in (round(center[axis]) + step * number for number in range(-strips, strips)):
        along = slice(start, start + step)
        strip = (slice(None), along, side) if axis == 0 else (slice(None), side, along)
        changed = image.clone()
        changed[strip] = 1 - changed[strip]
        weights.append(float((operator.encode(changed)[0].values - plain.values)[:, cell[0], cell[1]].square().sum()))
        places.append(start + step / 2)
    return sum(place * weight for place, weight in zip(places, weights, strict=True)) / sum(weights) - center[axis]


class IdentityOperator(Unfitted):
    """The image itself, one cell per pixel."""

    spec = OperatorSpec(name="identity", stage_version=1, prediction_kind="image", channel_count=3)

    def encode(self, image: Float[Tensor, "3 height width"]) -> Maps:
        return (FeatureMap(image.to(torch.float32), pixel_grid(ImageSize(*image.shape[-2:]))),)

    def decode(self, features: Maps, state: SceneState, size: ImageSize) -> Prediction:
        picture = at_pixels(features[0].values, features[0].grid, size)
        return Prediction("image", picture.clamp(0, 1), valid_everywhere(size))


class CheckerOperator(Encoder):
    """A fixed random projection of colour to any number of channels, averaged over cells of stride × stride pixels.

    Linear in the image, so what lifting does to its features can be computed from the colours.
    """

    def __init__(self, channel_count: int = 8, stride: float = 4.0) -> None:
        generator = torch.Generator().manual_seed(channel_count)
        self.projection = torch.randn(channel_count, 3, generator=generator)
        self._stride = stride
        self.spec = OperatorSpec(
            name=f"checker:{channel_count}?stride={stride:g}",
            stage_version=1,
            prediction_kind="embedding",
            channel_count=channel_count,
            stride_px=float(stride),
        )

    def encode(self, image: Float[Tensor, "3 height width"]) -> Maps:
        size = ImageSize(*image.shape[-2:])
        grid = FeatureGrid.covering(size, self._stride)
        cells = torch.nn.functional.adaptive_avg_pool2d(image.to(torch.float32), (grid.rows, grid.cols))
        return (FeatureMap(torch.einsum("ck,krs->crs", self.projection, cells), grid),)


def build_checker(name: OperatorName) -> CheckerOperator:
    """Build a CheckerOperator as an installed package would: from a parsed name."""
    name.check(("channels",))
    return CheckerOperator(name.integer("channels", 8))


class TrueOperator(Unfitted):
    """Says what is true of an image that it knows by its content, as a model of one image would: in terms of its own.

    Features are a map per pixel; what it does not know is 0. ``decode`` gives the features as they are, so that what
    was lifted can be looked at.
    """

    def __init__(self, frames: Mapping[ViewId, Frame], quantity: Quantity, kind: PredictionKind) -> None:
        self.spec = OperatorSpec(name=f"true_{quantity}", stage_version=1, prediction_kind=kind, quantity=quantity)
        self.truth: dict[str, Tensor] = {}
        for number, name in enumerate(sorted(frames)):
            self.truth[_content(frames[name].image)] = self.said_of(frames[name], number)
        self.channel_count = len(next(iter(self.truth.values())))

    def said_of(self, frame: Frame, number: int) -> Float[Tensor, "channel height width"]:
        """Return the answer on the numbered view."""
        raise NotImplementedError

    def encode(self, image: Float[Tensor, "3 height width"]) -> Maps:
        nothing = torch.zeros(self.channel_count, *image.shape[1:])
        return (FeatureMap(self.truth.get(_content(image), nothing), pixel_grid(ImageSize(*image.shape[-2:]))),)

    def decode(self, features: Maps, state: SceneState, size: ImageSize) -> Prediction:
        values = at_pixels(features[0].values, features[0].grid, size)
        return Prediction(self.spec.prediction_kind, values[0] if len(values) == 1 else values, valid_everywhere(size))


class TrueDepth(TrueOperator):
    """True z-depth (or disparity), less a shift and over a scale that are drawn anew for every view.

    Without a seed it says the truth in scene units; of a share of wrong pixels it says anything.
    """

    def __init__(
        self,
        frames: Mapping[ViewId, Frame],
        quantity: Quantity = "disparity",
        seed: int | None = 0,
        wrong: float = 0.0,
    ) -> None:
        self._seed, self._quantity, self._wrong = seed, quantity, wrong
        super().__init__(frames, quantity, "scalar")

    def pair(self, number: int) -> tuple[float, float]:
        """Return the scale and shift that take the numbered view's answer to scene units."""
        if self._seed is None:
            return 1.0, 0.0
        draw = torch.Generator().manual_seed(100 * self._seed + number)
        scale, shift = torch.rand(2, generator=draw).tolist()
        return 0.3 + 3 * scale, 0.2 * (shift - 0.5)

    def said_of(self, frame: Frame, number: int) -> Float[Tensor, "1 height width"]:
        scale, shift = self.pair(number)
        truth = 1 / frame.z_depth if self._quantity == "disparity" else frame.z_depth
        said = (truth - shift) / scale
        draw = torch.Generator().manual_seed(number)
        anything = said.min() + 3 * (said.max() - said.min()) * torch.rand(said.shape, generator=draw)
        return torch.where(torch.rand(said.shape, generator=draw) < self._wrong, anything, said)[None].float()

    def fit_scene(self, maps: Mapping[ViewId, Maps], views: SceneViews) -> SceneState:
        return fit_depth(maps, views, self._quantity)


class TrueNormals(TrueOperator):
    """The normal of the surface under each pixel, in the axes of the camera; given in world axes, by label."""

    def __init__(self, frames: Mapping[ViewId, Frame], normals: Float[Tensor, "label 3"]) -> None:
        self._normals = torch.nn.functional.normalize(normals.double(), dim=1)
        super().__init__(frames, "direction", "embedding")

    def said_of(self, frame: Frame, number: int) -> Float[Tensor, "3 height width"]:
        in_camera = self._normals[frame.labels] @ frame.camera.w2c[:3, :3].T
        return in_camera.permute(2, 0, 1).float().contiguous()


class TrueInstances(TrueOperator):
    """A mask of every instance; which number it has is drawn anew for every view, unless there is no seed."""

    def __init__(self, frames: Mapping[ViewId, Frame], seed: int | None = 0) -> None:
        self._seed = seed
        self.ids = torch.unique(torch.cat([frame.instances.flatten() for frame in frames.values()]))
        super().__init__(frames, "instance", "masks")

    def said_of(self, frame: Frame, number: int) -> Float[Tensor, "mask height width"]:
        order = torch.arange(len(self.ids))
        if self._seed is not None:
            order = torch.randperm(len(self.ids), generator=torch.Generator().manual_seed(100 * self._seed + number))
        return (frame.instances == self.ids[order][:, None, None]).float()

    def fit_scene(self, maps: Mapping[ViewId, Maps], views: SceneViews) -> SceneState:
        return fit_instances(maps, views)


def _content(image: Float[Tensor, "3 height width"]) -> str:
    return digest_bytes(image.contiguous().numpy(force=True).tobytes())
