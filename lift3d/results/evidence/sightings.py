"""Points of a scene's surface in some of its views: what is marked in pictures, and where photographs are compared."""

from dataclasses import dataclass

from lift3d.domain.keys import ViewId
from lift3d.errors import Lift3dError
from lift3d.results.cloud import PointsInView, points_in_views, surface_of
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.picture_rows import spread
from lift3d.surface.cloud import SurfacePoints, surface_points
from lift3d.surface.scene_surface import SceneSurface

# Looked at: views, and points of the surface.
_MOST_VIEWS, _MOST_POINTS = 64, 2000


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """Points of a surface, and how views that are spread along the camera path see them."""

    surface: SceneSurface
    views: tuple[ViewId, ...]
    points: SurfacePoints
    seen: tuple[PointsInView, ...]


def sightings_of(lifted: LiftedScene) -> Sightings | None:
    """Return points of the surface in views; None where there is no surface, or it cannot be read."""
    try:
        views = spread(lifted.compared, _MOST_VIEWS)
        surface = surface_of(lifted)
        if not surface.views or not views:
            return None
        points = surface_points(surface, _MOST_POINTS)
        return Sightings(surface, tuple(views), points, tuple(points_in_views(lifted, surface, points, views)))
    except Lift3dError:
        # What is damaged costs the marks, not the pictures.
        return None
