"""What is blended must mean the same in every view: how each quantity travels from its sources to a target.

The table is in docs/inside/quantities.md. Weights sum to 1, so blending in the target's axes is the blend of world
points and world axes taken to the target afterwards (both maps are affine), and float32 holds it wherever the world's
origin lies.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedFeatures
from lift3d.errors import ContractError, SceneError
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.operators.depth_alignment import DepthAlignment, alignment_of, converted
from lift3d.operators.instance_association import in_scene_ids, is_associated, scene_ids_of
from lift3d.operators.positional_field import field_of, with_field, without_field
from lift3d.operators.protocol import Quantity

# Directions that cancel have no direction: below this length nothing is scaled up.
_SHORTEST = 1e-6


def missing_of(quantity: Quantity, state: SceneState) -> str:
    """Return what a quantity needs and the state lacks, as a reason; empty if it can travel."""
    if quantity in ("depth", "disparity") and alignment_of(state, "") is None:
        return "not-aligned: no depth of the views could be aligned to the scene; expected views that share texture"
    if quantity == "instance" and not is_associated(state):
        return "not-associated: no instance of one view is known in another; expected views that share texture"
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class TargetFrameTransform:
    """How one cut of an operator's features goes from source views to one target, at the size its grid refers to."""

    quantity: Quantity
    state: SceneState
    cut: int
    target: Camera

    def of_source(self, features: FeatureMap, view: ViewId, camera: Camera) -> FeatureMap:
        """Return a source's features as they are blended.

        SceneError if the state does not place them: another grid than the positional field's, no alignment of depth, no
        association of instances; ContractError if the channels are not those of the quantity.
        """
        src2tgt = self.target.w2c @ camera.c2w
        if self.quantity in ("depth", "disparity"):
            z_depth = _aligned(self.state, view).z_depth(_channels(features, 1, self.quantity)[0], self.quantity)
            points = unproject(cell_centers(*features.grid.lattice).double(), z_depth, camera.K)
            return _replaced(features, transform(src2tgt, points.flatten(0, 1))[:, 2].reshape(1, *z_depth.shape))
        if self.quantity == "direction":
            axes = _channels(features, 3, self.quantity).double()
            return _replaced(features, torch.einsum("ts,src->trc", src2tgt[:3, :3].to(axes.device), axes))
        if self.quantity == "instance":
            return in_scene_ids(features, scene_ids_of(self.state, view), self.state)
        return without_field(features, field_of(self.state, self.cut))

    def of_guide(self, features: FeatureMap) -> FeatureMap:
        """Return the operator's features of the lifted picture as sources' are compared with them."""
        return without_field(features, field_of(self.state, self.cut))

    def at_target(self, lifted: LiftedFeatures) -> LiftedFeatures:
        """Return blended features as a decoder of the target reads them.

        Depth comes in the operator's own quantity (z, or 1/z) but in scene units; directions have length 1 again.
        """
        features = lifted.features
        if self.quantity in ("depth", "disparity"):
            z_depth = _aligned(self.state, "").bounded(features.values.double())
            return replace(lifted, features=_replaced(features, converted(z_depth, self.quantity)))
        if self.quantity == "direction":
            length = features.values.norm(dim=0, keepdim=True).clamp(min=_SHORTEST)
            return replace(lifted, features=_replaced(features, features.values / length))
        if self.quantity == "instance":
            return lifted
        return with_field(lifted, field_of(self.state, self.cut))


def own_answer(
    maps: tuple[FeatureMap, ...], quantity: Quantity, state: SceneState, view: ViewId
) -> tuple[FeatureMap, ...]:
    """Return a view's own maps in the units of lifted ones, so that the two may be compared.

    Depth is aligned by the view's own pair, or the scene's where nothing was fitted on it. Instances bear the scene's
    ids; those of a view that was not fitted on keep their own, on as many channels. SceneError if the state does not
    align depth.
    """
    if quantity in ("depth", "disparity"):
        alignment = _aligned(state, view)
        return tuple(_replaced(one, converted(alignment.z_depth(one.values, quantity), quantity)) for one in maps)
    if quantity == "instance" and is_associated(state):
        return tuple(in_scene_ids(one, scene_ids_of(state, view), state) for one in maps)
    return maps


def _aligned(state: SceneState, view: ViewId) -> DepthAlignment:
    alignment = alignment_of(state, view)
    if alignment is None:
        raise SceneError(
            "The scene state aligns no depth; expected what lift3d.operators.depth_alignment.fit_depth returns. Call "
            "it in fit_scene, on views that share texture.",
            view=view or None,
        )
    return alignment


def _channels(features: FeatureMap, count: int, quantity: Quantity) -> Float[Tensor, "channel row col"]:
    if features.channel_count != count:
        raise ContractError(
            f"A map of quantity '{quantity}' has {features.channel_count} channels; expected {count}. Give the "
            "quantity alone, or name another in the spec."
        )
    return features.values


def _replaced(features: FeatureMap, values: Float[Tensor, "channel row col"]) -> FeatureMap:
    return FeatureMap(values.float(), features.grid)
