"""What every camera is held against, whatever format it comes from, before its view is taken."""

import math

from lift3d.domain.camera import Camera, ImageSize
from lift3d.errors import CameraError

# Beyond this, the cameras of a scene can no longer be told apart in float32, and one outlier would spoil the depth
# range of all.
_FARTHEST_CENTER = 1e9
# Focal lengths in widths and heights of the image: a view of 179 degrees, and one of a millionth of a radian.
_SHORTEST_FOCAL, _LONGEST_FOCAL = 0.01, 1e6
_LONGEST_SIDE = 2**20
# How far from the middle of the image, in widths and heights, a principal point may lie that no size goes with; and
# both of its coordinates to the same side, as they do where intrinsics are those of a larger or a smaller image.
_OFF_CENTRE, _OFF_ALIKE = 0.2, 0.1


def stated_size(height: int | float, width: int | float) -> ImageSize:
    """Return the image size that a file states; CameraError if it is none."""
    for extent in (height, width):
        if not 1 <= extent <= _LONGEST_SIDE or extent != round(extent):
            raise CameraError(
                f"The image size should be positive whole numbers, at most {_LONGEST_SIDE}, got a height of "
                f"{height:.6g} and a width of {width:.6g}."
            )
    return ImageSize(int(height), int(width))


def require_plausible(camera: Camera, *, states_size: bool) -> None:
    """Refuse, by CameraError, a camera that is farther away, narrower or wider than any, or of another image.

    ``states_size`` is false where a file gives intrinsics without the size of the image that they are of.
    """
    # A rotation changes no length.
    distance = math.hypot(*camera.w2c[:3, 3].tolist())
    if distance > _FARTHEST_CENTER:
        raise CameraError(
            f"The camera's centre is {distance:.1e} units from the origin; at most {_FARTHEST_CENTER:.0e} is used. "
            "Correct the pose, or remove the view."
        )
    size = camera.size
    (fx, _, cx), (_, fy, cy), _ = camera.K.tolist()
    for focal, extent in ((fx, size.width), (fy, size.height)):
        if not _SHORTEST_FOCAL <= focal / extent <= _LONGEST_FOCAL:
            raise CameraError(
                f"The focal length of {focal:.1e} pixels for an image of {size.height}×{size.width} is no camera's. "
                "Give it in pixels of this image."
            )
    require_own_principal_point(cx, cy, size, states_size=states_size)


def require_own_principal_point(cx: float, cy: float, size: ImageSize, *, states_size: bool) -> None:
    """Refuse, by CameraError, a principal point outside its image, or of an image of another size."""
    u, v = cx / size.width - 0.5, cy / size.height - 0.5
    # Within the first pixel it is given in shares of the image.
    is_outside = max(abs(u), abs(v)) >= 0.5 or max(cx, cy) <= 1 < min(size.height, size.width) / 2
    is_scaled = max(abs(u), abs(v)) > _OFF_CENTRE or min(u, v) > _OFF_ALIKE or max(u, v) < -_OFF_ALIKE
    if is_outside or (is_scaled and not states_size):
        raise CameraError(
            f"The principal point ({cx:.6g}, {cy:.6g}) is not that of an image of {size.height}×{size.width} "
            f"(height×width); it would be near the middle of {2 * cy:.0f}×{2 * cx:.0f}. Were the images resized after "
            "they were calibrated? Scale the intrinsics to the images, or state the size that they are of."
        )
