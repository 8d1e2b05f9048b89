"""The line: eleven stage functions, each pure, and nothing else. ``scene_run`` walks a scene along it with I/O.

read_scene → encode_view → fit_scene → select_sources → propose → weights_at → correct → blend → decode_view →
score → tabulate
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedFeatures, LiftedView, Prediction
from lift3d.domain.proposals import RayProposal, SourceGuide
from lift3d.domain.scene import DepthRange, Frame, Scene
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ContractError, NonFiniteError, NoOverlapError
from lift3d.geometry.holes import fill_from_nearest
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import normalized_coordinates
from lift3d.lifted_quantities import Passage, missing_of, own_answer
from lift3d.lifters import source_selection
from lift3d.lifters.blend import blend as blend_taps
from lift3d.lifters.picture import blend_picture
from lift3d.lifters.protocol import Lifter
from lift3d.lifters.weights import weights_at
from lift3d.operators.protocol import COMPARABLE, Operator, PrecomputedOperator, Quantity
from lift3d.scenes.catalog import read_scene as read_location
from lift3d.targets import Target

HALF_MAX = 65504.0  # Largest finite float16.
# A prediction pixel stands on something seen if at least half of its ray's probability is.
COVERED = 0.5
# Taps of the picture that guides: colours change by less than a grey level with more.
PICTURE_TAPS = 16


def read_scene(location: str) -> Scene:
    """Read cameras and references; no pixel is decoded."""
    return read_location(location)


def encode_view(
    operator: Operator, frame: Frame, view: ViewId = "", on_clamped: Callable[[int], None] = lambda count: None
) -> tuple[FeatureMap, ...]:
    """Return an operator's features of one view, one map per cut, exactly representable in float16.

    Features are stored as float16; rounding here, before anyone uses them, makes a run from the cache equal to a
    run that computes.

    Args:
        operator: The model, or what knows the scene's views.
        frame: Of the view.
        view: Its id, for what only knows views and for messages; a picture has none.
        on_clamped: Told how many values were beyond float16 and are its largest number now, if any were.

    Raises:
        ContractError: Naming the operator and the view, if the model breaks its promise, such as by NaN.
    """
    try:
        if isinstance(operator, PrecomputedOperator):
            maps = operator.read(view, frame.camera.size)
        else:
            image = torch.where(frame.is_valid, frame.image, _mean_colour(frame)[:, None, None])
            with torch.inference_mode():
                maps = operator.encode(image)
        rounded = tuple(_rounded_to_half(one, operator.spec.name) for one in maps)
    except ContractError as error:
        if not view or error.view:
            raise
        raise type(error)(f"View '{view}': {error}", operator=operator.spec.name, view=view) from error
    clamped = sum(int((one.values.abs() > HALF_MAX).sum()) for one in maps)
    if clamped:
        on_clamped(clamped)
    return rounded


def fit_scene(operator: Operator, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
    """Return what the operator needs to know of all views."""
    return operator.fit_scene(maps, views)


def select_sources(
    targets: Sequence[Target], cameras: Mapping[ViewId, Camera], count: int, depth_range: DepthRange
) -> tuple[Target, ...]:
    """Return the targets with their sources chosen: pure planning on cameras, for all targets before any is lifted."""
    return tuple(
        replace(
            target,
            sources=tuple(
                source_selection.select_sources(
                    target.camera, [(name, cameras[name]) for name in target.source_ids], count, depth_range
                )
            ),
        )
        if target.source_ids
        else target
        for target in targets
    )


def propose(lifter: Lifter, target: Target, frames: Callable[[ViewId], Frame], depth_range: DepthRange) -> RayProposal:
    """Return where surfaces may be along the target's rays: once per target, for all operators.

    Raises:
        NoOverlapError: If the target has no source, or none sees anything of what it sees.
    """
    if not target.sources:
        raise NoOverlapError(f"Target '{target.id}' has no source view left.", view=target.id)
    guides = [
        SourceGuide(name, frame.camera, frame.image, frame.is_valid, taper, frame.z_depth)
        for name, taper, frame in ((name, taper, frames(name)) for name, taper in target.sources)
    ]
    with torch.inference_mode():
        proposal = lifter.propose(target.camera, guides, depth_range)
    is_valid = {guide.id: guide.is_valid for guide in guides}
    return replace(proposal, source_is_valid=tuple(is_valid[name] for name in proposal.source_ids))


def lift_features(
    lifter: Lifter,
    proposal: RayProposal,
    sources: Sequence[tuple[FeatureMap, ...]],
    grids: Sequence[FeatureGrid],
    taps: int,
    guides: tuple[FeatureMap, ...] | None = None,
    state: SceneState = EMPTY_STATE,
    quantity: Quantity = "invariant",
    color_cuts: Collection[int] = (),
) -> tuple[LiftedFeatures, ...]:
    """weights_at → correct → blend, for every cut of one operator.

    What is compared and blended is the same quantity in every view (``lift3d.lifted_quantities``): without a positional
    field, depth and directions in the target's axes, instances under the scene's ids. What comes out is the target's.
    Colours, and what is rendered, are read off the lifted picture (``lift_colors``).

    Args:
        lifter: Gives the corrector.
        proposal: Of the target.
        sources: The sources' maps, in the proposal's order of sources; one map per cut.
        grids: The target's grid of each cut.
        taps: Source samples per target cell.
        guides: The operator's maps of the lifted picture, if the lifter wants them (``wants_guide``).
        state: What the operator fitted on the scene.
        quantity: What the operator's features are.
        color_cuts: Cuts that are colours, whatever the others are.

    Raises:
        SceneError: If a source or the target has another grid than the positional field, or the state does not place
            what the sources say in the scene (``refusal``).
    """
    if guides is not None and (lifter.spec.is_rendered or quantity == "color"):
        return lift_colors(proposal, guides)
    lifted: list[LiftedFeatures] = []
    views = list(zip(sources, proposal.source_ids, proposal.sources, strict=True))
    with torch.inference_mode():
        for cut, grid in enumerate(grids):
            if guides is not None and cut in color_cuts:
                lifted += lift_colors(proposal, guides[cut : cut + 1])
                continue
            passage = Passage(quantity, state, cut, proposal.target)
            maps = [passage.of_source(of_view[cut], name, camera) for of_view, name, camera in views]
            guide = None if guides is None else passage.of_guide(guides[cut])
            weights = weights_at(proposal, grid, tap_count=taps)
            weights = lifter.correct(proposal, weights, maps, guide)
            lifted.append(passage.at_target(blend_taps(weights, maps)))
    return tuple(lifted)


def wants_guide(lifter: Lifter, operator: Operator) -> bool:
    """Whether a lifter is given what an operator says of the lifted picture, which must mean what it means in views."""
    spec = operator.spec
    return lifter.spec.is_guided and spec.quantity in COMPARABLE and not spec.is_precomputed


def refusal(operator: Operator, state: SceneState, lifter: Lifter | None = None) -> str:
    """Return why a scene has no lifted view (without a lifter: no plain one), as a reason; empty if it has.

    Args:
        operator: Whose answer it would be.
        state: What it fitted on the scene.
        lifter: How it would be lifted.
    """
    spec = operator.spec
    if lifter is not None and lifter.spec.is_rendered and not wants_guide(lifter, operator):
        what = "files of views" if spec.is_precomputed else spec.quantity
        return f"not-comparable: what '{spec.name}' says ({what}) is not of a picture alone"
    return missing_of(spec.quantity, state)


def lift_colors(proposal: RayProposal, guides: tuple[FeatureMap, ...]) -> tuple[LiftedFeatures, ...]:
    """Return what an operator whose features are colours says of the lifted picture, where anything is covered.

    Colours have weights of their own, those of the picture: already a linear combination of what the sources show,
    and read as sharply as pictures allow.

    Args:
        proposal: Of the target.
        guides: The operator's maps of the lifted picture.
    """
    lifted = []
    with torch.inference_mode():
        for guide in guides:
            shape = (guide.grid.rows, guide.grid.cols)
            weights = weights_at(proposal, guide.grid, tap_count=1)
            coverage = weights.coverage.reshape(shape)
            values = torch.where(coverage > 0, guide.values, torch.nan)
            lifted.append(
                LiftedFeatures(FeatureMap(values, guide.grid), coverage, weights.z_depth.reshape(shape).float())
            )
    return tuple(lifted)


def lift_picture(proposal: RayProposal, frames: Sequence[Frame]) -> Frame:
    """Return what the target looks like by the proposal's shared weights: what guided lifters let operators see.

    Args:
        proposal: Of the target.
        frames: The sources, in the proposal's order.
    """
    target = proposal.target
    with torch.inference_mode():
        weights = weights_at(proposal, FeatureGrid.covering(target.size, 1.0), tap_count=PICTURE_TAPS)
        image = blend_picture(weights, [fill_from_nearest(frame.image, frame.is_valid) for frame in frames])
        is_covered = (weights.coverage > 0).reshape(target.size.height, target.size.width)
        picture = fill_from_nearest(image, is_covered)
    return Frame(image=picture, is_valid=torch.ones_like(is_covered), camera=target, z_depth=None)


def target_grids(operator: Operator, size: ImageSize) -> tuple[FeatureGrid, ...]:
    """Return the grids that the operator has on an image of ``size``, found by encoding a grey one."""
    if isinstance(operator, PrecomputedOperator):
        return operator.grids(size)
    with torch.inference_mode():
        return tuple(one.grid for one in operator.encode(torch.full((3, size.height, size.width), 0.5)))


def decode_view(
    operator: Operator, state: SceneState, lifted: tuple[LiftedFeatures, ...], size: ImageSize
) -> Prediction:
    """Close holes, run the frozen decoder, and mark what does not stand on anything seen."""
    with torch.inference_mode():
        prediction = operator.decode(filled_features(lifted), state, size)
    first = lifted[0]
    is_covered = at_pixels(first.coverage >= COVERED, first.features.grid, *prediction.is_valid.shape)
    return Prediction(prediction.kind, prediction.values, prediction.is_valid & is_covered)


def plain_view(
    operator: Operator, state: SceneState, target: Target, frame: Frame, maps: tuple[FeatureMap, ...]
) -> LiftedView:
    """Return the plain 2D answer on the true image in the form of a lifted view: the row raw2d of every table.

    It is in the units of the scene, as lifted views are (``lifted_quantities.own_answer``).

    Raises:
        SceneError: If the state does not place it there (``refusal``).
    """
    maps = own_answer(maps, operator.spec.quantity, state, target.id)
    lifted = tuple(
        LiftedFeatures(
            one,
            torch.ones(one.grid.rows, one.grid.cols),
            torch.full((one.grid.rows, one.grid.cols), torch.nan),
        )
        for one in maps
    )
    with torch.inference_mode():
        prediction = operator.decode(maps, state, frame.camera.size)
    return LiftedView(target.id, frame.camera, lifted, prediction, (target.id,))


def at_pixels(
    flags: Bool[Tensor, "row col"], grid: FeatureGrid, height: int, width: int
) -> Bool[Tensor, "height width"]:
    """Return the flag of the cell that each pixel lies in, or of the nearest one outside the grid.

    Flags that are as many as the pixels are those of the pixels already: an embedding stays on its grid.
    """
    if tuple(flags.shape) == (height, width):
        return flags
    strides, origin = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
    at = normalized_coordinates(cell_centers(height, width), grid.rows, grid.cols, strides, origin)
    values = flags[None, None].float()
    return F.grid_sample(values, at[None], mode="nearest", padding_mode="border", align_corners=False)[0, 0] > 0


def filled_features(lifted: tuple[LiftedFeatures, ...]) -> tuple[FeatureMap, ...]:
    """Return features with every hole filled from its nearest covered cell."""
    return tuple(
        FeatureMap(
            fill_from_nearest(one.features.values, one.coverage > 0),
            one.features.grid,
            one.features.global_tokens,
        )
        for one in lifted
    )


def _rounded_to_half(feature_map: FeatureMap, name: str) -> FeatureMap:
    if not bool(torch.isfinite(feature_map.values).all()):
        raise NonFiniteError(
            f"Operator '{name}' gave NaN or infinite features; expected finite float32.", operator=name
        )
    tokens = feature_map.global_tokens
    return FeatureMap(_half(feature_map.values), feature_map.grid, None if tokens is None else _half(tokens))


def _half(values: Tensor) -> Tensor:
    # Contiguous like what is read back: kernels may sum another memory layout in another order.
    return values.clamp(-HALF_MAX, HALF_MAX).half().float().contiguous()


def _mean_colour(frame: Frame) -> Float[Tensor, "3"]:
    """Colour that stands in for pixels without a measurement, so that borders make no false edges of black."""
    count = frame.is_valid.sum()
    if count == 0:
        raise ContractError("A view without one valid pixel reached the encoder.")
    return (frame.image * frame.is_valid).sum(dim=(1, 2)) / count
