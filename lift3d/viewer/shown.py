"""What of a scene is shown and in which colours: drawn as points or triangles, or as pictures from any camera."""

from dataclasses import dataclass, field

from torch import Tensor

from lift3d.viewer.choice import Choice
from lift3d.viewer.colouring import ColourMode, Colours
from lift3d.viewer.drawing import Drawing
from lift3d.viewer.focus import in_focus
from lift3d.viewer.mesh import PageMesh
from lift3d.viewer.picture import painted, painted_depth
from lift3d.viewer.raster import PageCamera, RasterPoints, Seen, seen_points
from lift3d.viewer.stage import Stage
from lift3d.viewer.viewed_scene import Picture8


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Some points of a stage in some colours; ``last`` is what was seen of them at last, whatever their colours."""

    stage: Stage
    points: RasterPoints
    colours: Colours
    mode: ColourMode
    last: dict[tuple[object, ...], Seen] = field(default_factory=dict)

    def draw(self, drawing: Drawing, choice: Choice, is_shown: Tensor, mesh: PageMesh | None) -> int:
        """Draw them as they are chosen to be, and return how many points stand in the page; without a mesh, points."""
        if choice.shape == "picture":
            drawing.hide_surface()
            return len(self.points.index)
        drawing.show_background(None)
        if mesh is not None:
            drawing.show_mesh(mesh.to_glb(self.stage.to_page, self.colours.points, is_shown))
            return len(self.points.index)
        points = in_focus(self.points, self.stage.viewed.surface.views, choice.count)
        drawing.show_points(points.xyz.T, points.radius, points.index, self.colours)
        return len(points.index)

    def picture(self, camera: PageCamera, is_depth: bool) -> Picture8:
        """Return what a camera sees."""
        key = (camera.w2c.numpy().tobytes(), camera.fov, camera.height, camera.width)
        seen = self.last.get(key)
        if seen is None:
            seen = seen_points(self.points, camera)
            self.last.clear()
            self.last[key] = seen
        return painted_depth(seen) if is_depth else painted(seen, self.colours.points)
