"""The surface in one browser's page, as points, triangles or a picture behind everything, and a dot on it."""

import numpy as np
import torch
import viser
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from lift3d.viewer.colouring import Colours
from lift3d.viewer.eyes import Page
from lift3d.viewer.viewed_scene import Picture8

_JPEG_QUALITY = 85
# No colour of the scale between alike and unlike.
_DOT_COLOUR = (235, 0, 235)
_DOT_RADIUS, _UNSEEN = 0.018, 1e-6
# Points of one node have one size: those that lie farther apart than twice, or four times, the least are others.
_SIZES = 3


class Drawing:
    """What stands of the surface in one browser's page."""

    def __init__(self, client: Page) -> None:
        """Draw nothing yet."""
        self._client = client
        # Drawn like the cloud, and always, so that the shader of both stays linked while a cloud changes its colours.
        # Two points in one place: a single colour would be drawn by another shader.
        colours = np.array([_DOT_COLOUR, _DOT_COLOUR], np.uint8)
        self._dot = self._add_points("/asked", np.zeros((2, 3), np.float32), colours, _UNSEEN)
        # Which points of the cloud are drawn, one node after the other, and where they are in the page.
        self.drawn = torch.zeros(0, dtype=torch.int64)
        self.points = torch.zeros(0, 3)
        self.clouds: list[viser.PointCloudHandle] = []
        self._mesh: viser.GlbHandle | None = None

    def show_points(
        self,
        points: Float[Tensor, "drawn 3"],
        radius: Float[Tensor, " drawn"],
        drawn: Int[Tensor, " drawn"],
        colours: Colours,
    ) -> None:
        """Draw points of the cloud, page units, in place of what was drawn; each as large as it takes."""
        size = (radius / radius.amin()).log2().round().long().clamp(0, _SIZES - 1) if len(drawn) else drawn
        order = torch.argsort(size, stable=True)
        self.drawn, self.points = drawn[order], points[order]
        with self._client.atomic():
            self.hide_surface()
            for number, count in enumerate(torch.bincount(size, minlength=_SIZES).tolist()):
                if count:
                    at = order[size[order] == number]
                    rgb = colours.of_points(drawn[at]).numpy()
                    middle = float(radius[at].median())
                    self.clouds.append(self._add_points(f"/cloud/{number}", points[at].numpy(), rgb, middle))

    def show_mesh(self, glb: bytes) -> None:
        """Draw triangles in place of what was drawn."""
        with self._client.atomic():
            self.hide_surface()
            self._mesh = self._client.scene.add_glb("/mesh", glb, cast_shadow=False, receive_shadow=False)

    def hide_surface(self) -> None:
        """Draw neither points nor triangles."""
        for node in (*self.clouds, *([self._mesh] if self._mesh else [])):
            node.remove()
        self.clouds, self._mesh = [], None

    def colour_points(self, colours: Colours) -> None:
        """Change the colours of the points, and send them at once."""
        begin = 0
        with self._client.atomic():
            for cloud in self.clouds:
                end = begin + len(cloud.points)
                cloud.colors = colours.of_points(self.drawn[begin:end]).numpy()
                begin = end
        self._client.flush()

    def mark(self, position: Float[Tensor, "3"] | None) -> None:
        """Put the dot at a place of the page, or take it away."""
        if position is not None:
            self._dot.position = position.numpy()
        self._dot.point_size = _UNSEEN if position is None else _DOT_RADIUS

    def show_background(self, picture: Picture8 | None) -> None:
        """Fill the window behind everything with a picture."""
        self._client.scene.set_background_image(picture, format="jpeg", jpeg_quality=_JPEG_QUALITY)
        self._client.flush()

    def _add_points(
        self, name: str, positions: NDArray[np.float32], colours: NDArray[np.uint8], radius: float
    ) -> viser.PointCloudHandle:
        return self._client.scene.add_point_cloud(
            name,
            positions.astype(np.float32),
            colours,
            # viser's size of a point is half of its width.
            point_size=radius,
            point_shape="circle",
            point_shading="flat",
            precision="float32",
        )
