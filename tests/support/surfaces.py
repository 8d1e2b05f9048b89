"""Files of geometry made from depth that is known: meshes, clouds, splats and dense workspaces of COLMAP.

And what must come of every way to find a surface, whatever the order of the views, the frame and the unit.
"""

import dataclasses

import numpy as np
import pycolmap
import torch
from PIL import Image
from plyfile import PlyData, PlyElement

from lift3d.domain.scene import DepthRange
from lift3d.errors import NoOverlapError
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers, directions_z1
from lift3d.geometry.rigid import transform
from tests.support.lifting import same_bits, share
from tests.support.scenes import moved_camera, some_motion


def no_tracks():
    raise NoOverlapError("there are none")


def unasked_tracks():
    raise AssertionError("no tracks are needed")


def errors_of(found, known):
    """Relative errors of all cells of one or two pixels against the depth at their centres; NaN without either."""
    errors = []
    for one in known:
        z_depth = found.views[one.id].z_depth
        is_searched = z_depth.shape != one.z_depth.shape
        errors.append((z_depth / (one.z_depth[1::2, 1::2] if is_searched else one.z_depth) - 1).abs().flatten())
    return torch.cat(errors)


def order_changes_no_bit(estimate, guides, depth_range, found):
    again = estimate(guides[::-1], depth_range)
    assert list(again.views) == list(found.views)[::-1]
    for name, view in found.views.items():
        same_bits((view.z_depth, view.confidence), (again.views[name].z_depth, again.views[name].confidence))


def another_world_scales_depth_alone(estimate, guides, depth_range, found, most, factor=3.0):
    """Rounding in another frame decides a few cells anew, at ``most`` such a share."""

    def moved(guide):
        z_depth = None if guide.z_depth is None else factor * guide.z_depth
        return dataclasses.replace(guide, camera=moved_camera(guide.camera, some_motion(), factor), z_depth=z_depth)

    scaled = DepthRange(factor * depth_range.near, factor * depth_range.far)
    again = estimate([moved(guide) for guide in guides], scaled).views
    for name, view in found.views.items():
        assert share((again[name].z_depth / factor / view.z_depth - 1).abs() > 1e-3) < most
        assert float((again[name].confidence - view.confidence).abs().median()) < 1e-4


def mesh_of(frames, step=1, jump=0.05):
    """World vertices at every ``step``-th pixel of every frame, and triangles between those of one surface."""
    vertices, triangles, first = [], [], 0
    for frame in frames:
        size = frame.camera.size
        uv = cell_centers(size.height, size.width)[::step, ::step].double()
        z = frame.z_depth[::step, ::step].double()
        vertices.append(transform(frame.camera.c2w, unproject(uv, z, frame.camera.K).reshape(-1, 3)))
        index = torch.arange(z.numel()).reshape(z.shape) + first
        corner = [index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]]
        quads = torch.stack(corner, dim=-1).reshape(-1, 4)
        depth = z.reshape(-1)[quads - first]
        quads = quads[(depth.amax(1) / depth.amin(1) - 1) < jump]
        triangles += [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
        first += z.numel()
    return torch.cat(vertices).numpy(), torch.cat(triangles).numpy()


def write_ply(path, columns, triangles=None):
    """Write named columns of vertices, and triangles if there are any."""
    rows = np.empty(len(next(iter(columns.values()))), [(name, "f4") for name in columns])
    for name, values in columns.items():
        rows[name] = values
    elements = [PlyElement.describe(rows, "vertex")]
    if triangles is not None:
        faces = np.empty(len(triangles), [("vertex_indices", "i4", (3,))])
        faces["vertex_indices"] = triangles
        elements.append(PlyElement.describe(faces, "face"))
    PlyData(elements, byte_order="<").write(str(path))
    return path


def write_mesh(path, vertices, triangles):
    return write_ply(path, dict(zip("xyz", vertices.T, strict=True)), triangles)


def write_points(path, xyz):
    return write_ply(path, dict(zip("xyz", xyz.T, strict=True)))


def write_splats(path, xyz, radius, without=()):
    """Round splats, nearly opaque, as 3DGS stores them: logits of opacity, logarithms of scales."""
    ones = np.ones(len(xyz))
    columns = {
        **dict(zip("xyz", xyz.T, strict=True)),
        "opacity": 3 * ones,
        **{f"scale_{axis}": np.log(radius) * ones for axis in range(3)},
        **{f"rot_{part}": ones * (part == 0) for part in range(4)},
    }
    return write_ply(path, {name: one for name, one in columns.items() if name not in without})


def write_workspace(root, frames, kind="geometric"):
    """A dense workspace with a depth map per frame, by name; its images are called NAME.png."""
    model = pycolmap.Reconstruction()
    maps = root / "stereo" / "depth_maps"
    maps.mkdir(parents=True)
    (root / "sparse").mkdir()
    for number, (name, frame) in enumerate(frames.items(), start=1):
        K, size = frame.camera.K, frame.camera.size
        params = [float(K[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2))]
        lens = pycolmap.Camera(model="PINHOLE", width=size.width, height=size.height, params=params, camera_id=number)
        model.add_camera_with_trivial_rig(lens)
        image = pycolmap.Image(name=f"{name}.png", camera_id=number, image_id=number)
        w2c = frame.camera.w2c.numpy()
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pycolmap.Rotation3d(w2c[:3, :3]), w2c[:3, 3]))
        z = np.nan_to_num(frame.z_depth.numpy()).astype(np.float32)
        pycolmap.DepthMap.from_array(z, 0.0, float(z.max())).write(maps / f"{name}.png.{kind}.bin")
    model.write(str(root / "sparse"))
    return root


def write_depths(folder, frames, form="{}_depth.npy", unit=1.0, power=0):
    """A depth map per frame, by name, in numbers of so many world units each; with a power of 1, distances along rays.

    The suffix of the form tells whether numbers are floats, floats that are packed, or whole numbers.
    """
    folder.mkdir(parents=True)
    for name, frame in frames.items():
        size, path = frame.camera.size, folder / form.format(name)
        length = directions_z1(cell_centers(size.height, size.width).double(), frame.camera.K).norm(dim=-1)
        numbers = (frame.z_depth.double() * length**power / unit).nan_to_num(0.0).numpy()
        if path.suffix == ".npy":
            np.save(path, numbers.astype(np.float32))
        elif path.suffix == ".npz":
            np.savez_compressed(path, depth=numbers.astype(np.float32)[None], mask=numbers > 0)
        else:
            Image.fromarray(numbers.round().astype(np.uint16)).save(path)
    return folder


def write_grey(path):
    """A picture of depth in 8 bits."""
    Image.fromarray(np.full((48, 64), 99, np.uint8)).save(path)
