"""Chaining matches between views and triangulating them: the 3D half of sparse tracks. COLMAP lives here.

COLMAP chains matches and triangulates them with the poses as they are (Schönberger & Frahm, CVPR 2016, §4.3). Nothing
of the poses is refined.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from jaxtyping import Float64, Int
from numpy import ndarray

from lift3d.domain.camera import Camera
from lift3d.geometry.rays import directions_z1
from lift3d.overlap import ahead
from lift3d.scenes.colmap_log import pycolmap, quiet_colmap
from lift3d.scenes.tracks_matching import Keypoints, match_keypoints, neighbour_pairs

# A keypoint is located to a fraction of a pixel; beyond this an observation belongs to another point.
_REPROJECTION_PX = 1.5
# COLMAP's own; at 3° a capture's depth is a tenth better and small scenes have no points.
_SMALLEST_ANGLE_DEG = 1.5
# Two views always agree along the epipolar line; a third one confirms.
_FEWEST_VIEWS = 3
_SEED = 0

# A place in the world and the keypoint that shows it, by view.
Point = tuple[Float64[ndarray, "3"], dict[int, int]]


def triangulated(keypoints: Sequence[Keypoints], cameras: Sequence[Camera]) -> list[Point]:
    """Return the points that COLMAP triangulates from matches of neighbouring views."""
    if len(cameras) < 2:
        return []
    with TemporaryDirectory() as folder, quiet_colmap():
        database = Path(folder, "database.db")
        model = _write_views(database, keypoints, cameras)
        _write_matches(database, keypoints, cameras)
        found = pycolmap.triangulate_points(model, database, folder, folder, options=_options())
    fewest = max(2, min(_FEWEST_VIEWS, len(cameras)))
    to_world = cameras[0].c2w.numpy()
    points = []
    for _, point in sorted(found.points3D.items()):
        # An image is a view's number plus 1. Two keypoints of one view are no evidence of one point.
        track = {element.image_id - 1: element.point2D_idx for element in point.track.elements}
        if len(track) == point.track.length() >= fewest:
            points.append((to_world[:3, :3] @ point.xyz + to_world[:3, 3], dict(sorted(track.items()))))
    return points


def _options() -> pycolmap.IncrementalPipelineOptions:
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = _SEED
    # Sums over threads depend on their order.
    options.num_threads = options.mapper.num_threads = 1
    options.extract_colors = False
    options.triangulation.ignore_two_view_tracks = False
    options.triangulation.min_angle = options.mapper.filter_min_tri_angle = _SMALLEST_ANGLE_DEG
    options.triangulation.complete_max_reproj_error = options.triangulation.merge_max_reproj_error = _REPROJECTION_PX
    options.mapper.filter_max_reproj_error = _REPROJECTION_PX
    return options


def _write_views(database: Path, keypoints: Sequence[Keypoints], cameras: Sequence[Camera]) -> pycolmap.Reconstruction:
    """Write keypoints to a new database and return a model with the given poses and no points.

    Its world is the first camera's axes, so that it does not matter where the scene's origin lies.
    """
    model = pycolmap.Reconstruction()
    to_world = cameras[0].c2w
    with pycolmap.Database.open(database) as opened, pycolmap.DatabaseTransaction(opened):
        for number, (one, camera) in enumerate(zip(keypoints, cameras, strict=True), start=1):
            fx, fy, cx, cy = (float(camera.K[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
            lens = pycolmap.Camera(
                model="PINHOLE",
                width=camera.size.width,
                height=camera.size.height,
                params=[fx, fy, cx, cy],
                camera_id=number,
            )
            image = pycolmap.Image(name=f"{number:06d}", camera_id=number, image_id=number)
            opened.write_camera(lens, use_camera_id=True)
            opened.write_image(image, use_image_id=True)
            # COLMAP's pinhole has no skew: the pixels of the same rays without it.
            rays = directions_z1(one.uv.double(), camera.K)[:, :2]
            opened.write_keypoints(number, (rays * camera.K.diagonal()[:2] + camera.K[:2, 2]).float().numpy())
            model.add_camera_with_trivial_rig(lens)
            model.add_image_with_trivial_frame(image, pycolmap.Rigid3d((camera.w2c @ to_world)[:3].numpy()))
    return model


def _write_matches(database: Path, keypoints: Sequence[Keypoints], cameras: Sequence[Camera]) -> None:
    def matched(pair: tuple[int, int]) -> Int[ndarray, "match 2"]:
        a, b = pair
        return match_keypoints(keypoints[a], keypoints[b], (cameras[a], cameras[b])).numpy()

    pairs = neighbour_pairs(cameras)
    with pycolmap.Database.open(database) as opened, pycolmap.DatabaseTransaction(opened):
        for (a, b), matches in zip(pairs, ahead(matched, pairs), strict=True):
            pair = pycolmap.TwoViewGeometry()
            pair.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            pair.inlier_matches = matches()
            opened.write_two_view_geometry(a + 1, b + 1, pair)
