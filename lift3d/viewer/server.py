"""The server of the page: viser, without what would reach beyond this machine."""

import contextlib
import io

import viser


class LocalServer(viser.ViserServer):
    """A server whose page cannot be published: viser offers a tunnel through a host of its own."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Refuse."""
        return None

    def stop(self) -> None:
        """End, without a word."""
        with contextlib.redirect_stdout(io.StringIO()):
            super().stop()


def start_server(host: str, port: int) -> viser.ViserServer:
    """Serve an empty page; viser's own banner is left out."""
    with contextlib.redirect_stdout(io.StringIO()):
        server = LocalServer(host, port, label="lift3d", verbose=False)
    server.gui.configure_theme(
        control_width="large", show_logo=False, show_share_button=False, brand_color=(38, 99, 160)
    )
    # Beside the scene rather than on it.
    server.gui.main_panel.dock_right()
    return server
