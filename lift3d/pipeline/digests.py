"""What each product of a scene depends on, and nothing else: the digests in its path."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from lift3d.config import Recipe
from lift3d.domain.camera import Camera
from lift3d.domain.features import SceneState
from lift3d.domain.keys import ViewId, Written, canonical_json, digest, digest_bytes
from lift3d.domain.scene import DepthRange, View
from lift3d.domain.target import Target
from lift3d.lifters.protocol import LifterSpec
from lift3d.operators.protocol import COMPARABLE, OperatorSpec
from lift3d.pipeline.targets import AllBut, sources_of_any
from lift3d.scenes import tracks
from lift3d.surface.protocol import GeometrySpec

# Raised when the same input would give other numbers in the stages that belong to no plug-in: decoding and resizing of
# images (and what stands in for invalid pixels), source selection, weights_at, the lifted picture, blend, hole filling
# and coverage, scoring geometry, what operators share to fit a scene (alignment of depth, association of instances,
# positional field), how depth, directions and instances travel. Tracks have a version of their own.
# "arrays": which ones products of views have, and how they round; parts of two forms do not fit together.
STAGE_VERSIONS = {
    "frames": 2,
    "select_sources": 1,
    "weights_at": 2,
    "picture": 1,
    "blend": 2,
    "decode_view": 1,
    "score": 2,
    "fit": 1,
    "travel": 1,
    "surface": 2,
    "anchor": 12,
    "reliability": 1,
    "arrays": 4,
}
# What lifting goes through; frames are in the digests of the views, and scoring changes no lifted view.
_LIFTING = ("select_sources", "weights_at", "picture", "blend", "decode_view")
_ANCHORING = ("surface", "anchor", "blend", "decode_view")


def view_digest(view: View, height: int) -> str:
    """Digest of the pixels of a view at a height."""
    content = {"content": view.source.content_digest(), "height": height, "frames": STAGE_VERSIONS["frames"]}
    return digest({**content, "camera": camera_digest(view.camera)})


def operator_digest(operator: OperatorSpec) -> str:
    """Digest of what features depend on besides the views."""
    return digest({"operator": operator.identity})


def features_digest(operator: OperatorSpec, views: Mapping[ViewId, str]) -> str:
    """Digest of an operator's features of some views, in their order."""
    ordered = [[name, value] for name, value in views.items()]
    return digest({"operator": operator.identity, "form": STAGE_VERSIONS["arrays"], "views": ordered})


def tracks_digest(views: Mapping[ViewId, str]) -> str:
    """Digest of what the tracks of some views, in their order, depend on."""
    return digest({"tracks": tracks.STAGE_VERSION, "views": [[name, value] for name, value in views.items()]})


def fit_digest(operator: OperatorSpec, views: Mapping[ViewId, str]) -> str:
    """Digest of what an operator fits on some views, in their order, depends on: these, their features and tracks."""
    stages = {"fit": STAGE_VERSIONS["fit"], "travel": STAGE_VERSIONS["travel"]}
    own = {"operator": operator.identity, "quantity": operator.quantity, "stages": stages}
    return digest({**own, "tracks": tracks_digest(views)})


def state_digest(state: SceneState) -> str:
    """Digest of what an operator fitted on the scene; empty for the empty state."""
    if state.is_empty:
        return ""
    arrays = ((name, state.arrays[name].contiguous().numpy(force=True)) for name in sorted(state.arrays))
    return digest_bytes(*(part for name, array in arrays for part in (name.encode(), array.tobytes())))


def plain_digest(operator: OperatorSpec, state: str, targets: Sequence[Target], views: Mapping[ViewId, str]) -> str:
    """Digest of the plain 2D answers on the targets."""
    content = {"operator": operator.identity, "state": state, "decode": STAGE_VERSIONS["decode_view"]}
    content |= {"travel": _travel_of(operator), "form": STAGE_VERSIONS["arrays"]}
    return digest({**content, "targets": [[target.id, views[target.id]] for target in targets]})


def lifted_digest(
    operator: OperatorSpec,
    lifter: LifterSpec,
    state: str,
    recipe: Recipe,
    targets: Sequence[Target],
    views: Mapping[ViewId, str],
    geometry: DepthRange | str,
) -> str:
    """Digest of a part of the lifted views: cameras, sources and their images, lifter, operator, state.

    ``geometry`` is the path of the surface that targets read, or the depth range in which their sources are searched.
    """
    if isinstance(geometry, str):
        sources: list[object] = [_written(target.source_ids) for target in targets]
        used = sources_of_any(targets)
        own: dict[str, object] = {"surface": geometry, "kind": operator.prediction_kind}
    else:
        sources = [[list(source) for source in target.sources] for target in targets]
        used = {name for target in targets for name, _ in target.sources}
        own = {"depth_range": [geometry.near, geometry.far]}
    stages = _ANCHORING if isinstance(geometry, str) else _LIFTING
    return digest(
        {
            **own,
            "form": STAGE_VERSIONS["arrays"],
            "operator": operator.identity,
            "quantity": operator.quantity,
            "color_cuts": list(operator.color_cuts),
            "travel": _travel_of(operator),
            "lifter": lifter.identity,
            "state": state,
            "stages": {name: STAGE_VERSIONS[name] for name in stages},
            "taps": recipe.tap_count,
            "targets": [
                [target.id, camera_digest(target.camera), chosen]
                for target, chosen in zip(targets, sources, strict=True)
            ],
            "views": [[name, views[name]] for name in sorted(used)],
        }
    )


def _written(names: Sequence[ViewId]) -> Written:
    """Return names in order, as JSON; of lists that hold all of many names but one, the names are written once."""
    if not isinstance(names, AllBut):
        return Written(f"[{','.join(_each_written(tuple(names)))}]")
    place = sorted(names.names).index(names.names[names.left_out])
    each = _each_written(names.names)
    return Written(f"[{','.join((*each[:place], *each[place + 1 :]))}]")


@lru_cache(maxsize=4)
def _each_written(names: tuple[ViewId, ...]) -> tuple[str, ...]:
    return tuple(canonical_json(name) for name in sorted(names))


def surface_digest(method: GeometrySpec, views: Mapping[ViewId, str], depth_range: DepthRange) -> str:
    """Digest of what a scene's surface depends on: how it is estimated, and the views, whatever their order."""
    return digest(
        {
            "method": method.identity,
            "stages": {"surface": STAGE_VERSIONS["surface"], "tracks": tracks.STAGE_VERSION},
            "depth_range": [depth_range.near, depth_range.far],
            "views": sorted([name, value] for name, value in views.items()),
        }
    )


def reliability_digest(surface: str, judges: Sequence[OperatorSpec], taps: int) -> str:
    """Digest of what is left of a surface, by its path, once 2D models judged what views show."""
    stages = {name: STAGE_VERSIONS[name] for name in ("reliability", "anchor", "blend")}
    return digest({"surface": surface, "judges": [one.identity for one in judges], "taps": taps, "stages": stages})


def _travel_of(operator: OperatorSpec) -> dict[str, object] | None:
    """Return what a quantity that is not blended as it is depends on besides; nothing for all others."""
    if operator.quantity in COMPARABLE:
        return None
    return {"quantity": operator.quantity, "version": STAGE_VERSIONS["travel"]}


def camera_digest(camera: Camera) -> str:
    """Digest of a camera."""
    size = camera.K.new_tensor([camera.size.height, camera.size.width])
    return digest_bytes(*(part.contiguous().numpy().tobytes() for part in (camera.K, camera.w2c, size)))
