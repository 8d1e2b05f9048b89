"""What people take along from one browser: points, masks of all views, a film."""

from collections.abc import Callable

import torch
import viser

from lift3d.errors import Lift3dError
from lift3d.viewer import texts
from lift3d.viewer.eyes import page_camera
from lift3d.viewer.film import film
from lift3d.viewer.labels import masks_file, points_file
from lift3d.viewer.raster import PageCamera
from lift3d.viewer.session import Session
from lift3d.viewer.viewed_scene import Picture8


class Taken:
    """Hands files of a session to its browser; of a film ``picture`` returns what a camera sees."""

    def __init__(self, client: viser.ClientHandle, session: Session, picture: Callable[[PageCamera], Picture8]) -> None:
        """Keep no view yet."""
        self._client, self._session, self._picture = client, session, picture
        # Each with the run and the scene that it is a view of: others have another page.
        self._key_views: list[tuple[tuple[str, str], PageCamera]] = []

    def save_points(self) -> None:
        """Hand the points that are shown, or those of the box, to the browser as a file."""
        session = self._session
        with session.turn():
            try:
                session.see_all()
            except Lift3dError as error:
                session.panel.box.content = texts.trouble(str(error))
                return
            kept = torch.zeros(len(session.viewed.cloud), dtype=torch.bool)
            kept[session.shown_points.index if session.mode.area is None else session.mode.area] = True
            content = points_file(session.stage.lifted, session.viewed, kept, session.colours.points, session.labels)
        self._client.send_file_download("lift3d-points.ply", content, save_immediately=True)

    def save_masks(self) -> None:
        """Hand the masks of all views over."""
        if (labels := self._session.labels) is not None and labels.masks is not None:
            self._client.send_file_download("lift3d-masks.json", masks_file(labels.masks), save_immediately=True)

    def keep_view(self) -> None:
        """Let a film go through where the browser is."""
        self._key_views.append((self._place, page_camera(self._client.camera, 720)))
        self.show_kept()

    def forget_views(self) -> None:
        """Let a film go along the cameras of the capture again."""
        self._key_views = [one for one in self._key_views if one[0] != self._place]
        self.show_kept()

    @property
    def _place(self) -> tuple[str, str]:
        one = self._session.stage.lifted
        return one.recipe.run_id, one.name

    @property
    def _kept(self) -> list[PageCamera]:
        return [view for place, view in self._key_views if place == self._place]

    def show_kept(self) -> None:
        """Say how many views are kept of what is shown."""
        count, panel = len(self._kept), self._session.panel
        panel.key_views.content = texts.paragraph(f"{texts.FILM} {count} kept." if count else texts.FILM)
        panel.forget.visible = count > 0

    def record(self) -> None:
        """Make a film, and hand it over."""
        panel, session = self._session.panel, self._session
        panel.record.disabled, panel.progress.visible = True, True
        try:
            session.see_all()
            content = film(
                self._kept,
                session.stage,
                float(panel.seconds.value),
                self._picture,
                lambda share: setattr(panel.progress, "value", 100 * share),
            )
            self._client.send_file_download("lift3d.mp4", content, save_immediately=True)
        except Lift3dError as error:
            panel.key_views.content = texts.trouble(str(error))
        finally:
            panel.record.disabled, panel.progress.visible = False, False
