"""A folder as COLMAP undistorts one, images and a model of cameras and points: what trainers of splats take.

Axes and pixels are ours already.
"""

from pathlib import Path

from lift3d.errors import CameraError
from lift3d.results.exports.files import file_names, image_to_write, world_words, write_picture
from lift3d.results.exports.ply import predicted_columns, some_cloud
from lift3d.results.lifted_scene import LiftedScene
from lift3d.runs.progress import track

# Enough to start Gaussians from; more are made while they are trained.
MOST_POINTS = 200_000


def export_colmap(lifted: LiftedScene, out: Path) -> list[str]:
    """Write images/ and sparse/0, and return what there is to say.

    Images are as for nerfstudio. Points are those of the surface, in the colours of the images; they have no tracks.
    CameraError of a camera with skew, which a PINHOLE of COLMAP has no place for.
    """
    from lift3d.scenes.colmap_log import pycolmap

    names = file_names(lifted.targets)
    model = pycolmap.Reconstruction()
    (out / "images").mkdir()
    for number, target in enumerate(track(lifted.targets, "export"), start=1):
        view = lifted.view(target)
        picture, _ = image_to_write(lifted, view)
        write_picture(out / "images" / f"{names[target]}.png", picture)
        K, size, w2c = view.camera.K, view.camera.size, view.camera.w2c.numpy()
        if float(K[0, 1]) != 0:
            raise CameraError(f"The camera of view '{target}' has skew {float(K[0, 1])}; COLMAP's PINHOLE takes none.")
        params = [float(K[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2))]
        model.add_camera_with_trivial_rig(
            pycolmap.Camera(model="PINHOLE", width=size.width, height=size.height, params=params, camera_id=number)
        )
        image = pycolmap.Image(name=f"{names[target]}.png", camera_id=number, image_id=number)
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(w2c[:3, :3]), w2c[:3, 3])
        model.add_image_with_trivial_frame(image, pose)
    cloud = some_cloud(lifted, MOST_POINTS)
    columns = predicted_columns(lifted, cloud, lambda view: image_to_write(lifted, view)[0])
    rgb = zip(*(columns[name] for name in ("red", "green", "blue")), strict=True)
    for xyz, colour in zip(cloud.xyz.numpy(), rgb, strict=True):
        model.add_point3D(xyz, pycolmap.Track(), colour)
    (out / "sparse" / "0").mkdir(parents=True)
    model.write(str(out / "sparse" / "0"))
    return [f"{len(names)} cameras and {len(cloud)} points in sparse/0, images beside", world_words(lifted)]
