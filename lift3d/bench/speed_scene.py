"""What ``lift3d bench speed`` lifts: one target and its nearest views, all cut to squares of one size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import RayProposal
from lift3d.domain.scene import DepthRange, Frame, View
from lift3d.domain.target import Target
from lift3d.errors import ConfigError
from lift3d.lifters.protocol import Lifter
from lift3d.pipeline.propose import propose
from lift3d.pipeline.targets import select_sources
from lift3d.pipeline.weigh import lift_picture
from lift3d.scenes.catalog import read_scene

# The finest guide grid of the lifters here.
GUIDE_STRIDE_PX = 2


@dataclass(frozen=True, slots=True, eq=False)
class SpeedScene:
    """One held-out target with the frames of its sources.

    Attributes:
        target: The view in the middle of the scene's order, with its sources chosen.
        frames: Of the sources.
        depth_range: The scene's.
    """

    target: Target
    frames: dict[ViewId, Frame]
    depth_range: DepthRange

    @classmethod
    def read(cls, location: str, guide_cells: int, source_count: int) -> "SpeedScene":
        """Read a scene at the size that gives a guide grid of ``guide_cells`` × ``guide_cells``.

        Raises:
            ConfigError: If the scene has too few views.
        """
        scene = read_scene(location)
        if len(scene.views) <= source_count:
            raise ConfigError(
                f"'{location}' has {len(scene.views)} usable views; {source_count} sources and a target of their own "
                f"need {source_count + 1}. Name a larger scene."
            )
        side = GUIDE_STRIDE_PX * guide_cells
        cameras = {view.id: _cut(_resized(view.camera, side), side)[0] for view in scene.views}
        own = scene.views[len(scene.views) // 2]
        others = tuple(view.id for view in scene.views if view is not own)
        target = Target(own.id, cameras[own.id], own, others)
        (chosen,) = select_sources([target], cameras, source_count, scene.depth_range)
        frames = {name: _square(scene.view(name), side) for name, _ in chosen.sources}
        return cls(chosen, frames, scene.depth_range)

    def propose(self, lifter: Lifter) -> RayProposal:
        """Run stage I as the pipeline does."""
        return propose(lifter, self.target, self.frames.__getitem__, self.depth_range)

    def lift_picture(self, proposal: RayProposal) -> Frame:
        """Lift the picture that guides, as the pipeline does."""
        return lift_picture(proposal, [self.frames[name] for name in proposal.source_ids])


@dataclass(frozen=True, slots=True, eq=False)
class RandomOperator:
    """Features of noise: the time does not depend on what is lifted.

    Attributes:
        sources: One map per source, the cells of a channel adjacent, as the store and ``encode_view`` give them.
        guide: Of the lifted picture, on the target's grid.
    """

    sources: tuple[FeatureMap, ...]
    guide: FeatureMap

    @classmethod
    def of(cls, scene: SpeedScene, channel_count: int, stride_px: float) -> "RandomOperator":
        """Return features of a scene's sources and target."""
        generator = torch.Generator().manual_seed(0)

        def features(camera: Camera) -> FeatureMap:
            grid = FeatureGrid.covering(camera.size, stride_px)
            return FeatureMap(torch.rand(channel_count, grid.rows, grid.cols, generator=generator), grid)

        return cls(tuple(features(one.camera) for one in scene.frames.values()), features(scene.target.camera))


def frame_bytes(frames: Sequence[Frame]) -> int:
    """Return the memory of pictures and validity."""
    return sum(one.image.numel() * one.image.element_size() + one.is_valid.numel() for one in frames)


def _resized(camera: Camera, side: int) -> Camera:
    """Return the camera at the least height at which both sides of the image reach ``side``."""
    size = camera.size
    return camera.resized(size.with_height(max(side, math.ceil(side * size.height / size.width))))


def _cut(camera: Camera, side: int) -> tuple[Camera, int, int]:
    """Return the camera of the square in the middle, and where its top left corner is."""
    top, left = (camera.size.height - side) // 2, (camera.size.width - side) // 2
    return camera.cropped(top, left, ImageSize(side, side)), top, left


def _square(view: View, side: int) -> Frame:
    frame = view.load(_resized(view.camera, side).size.height)
    camera, top, left = _cut(frame.camera, side)
    rows, cols = slice(top, top + side), slice(left, left + side)
    z_depth = None if frame.z_depth is None else frame.z_depth[rows, cols].contiguous()
    return Frame(frame.image[:, rows, cols].contiguous(), frame.is_valid[rows, cols].contiguous(), camera, z_depth)
