"""The server of the page: viser, without what reaches beyond this machine, closed to all who lack its address."""

import contextlib
import gzip
import http
import io
import re
import secrets
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import viser
import websockets.asyncio.server
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from lift3d.errors import ContractError
from lift3d.viewer.page import ADDED
from lift3d.viewer.transform import FIELD_OF_VIEW

HOST = "127.0.0.1"
# Of the page's camera, page units.
_NEAR, _FAR = 0.004, 200.0
_TITLE = re.compile(rb"<title>[^<]*</title>")
Answer = Callable[[ServerConnection, Request], Response | None]


class LocalServer(viser.ViserServer):
    """A server whose page cannot be published, viser offers a tunnel for that, and that answers its own page alone.

    Other users of this machine do not know the token in the page's path; pages of other sites, which may ask anything
    of this machine, are told by the names that browsers send: ``Host``, which is theirs where they let their own name
    mean this machine, and ``Origin``.
    """

    def __init__(self, port: int, title: str) -> None:
        self._title = title
        self.token = secrets.token_urlsafe(16)
        with _served_through(self._guarded) as wrapped:
            super().__init__(HOST, port, label="lift3d", verbose=False)
        if not wrapped:
            self.stop()
            raise ContractError("This version of viser serves in another way, unguarded. Install viser 1.1: .[view].")

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Refuse."""
        return None

    def stop(self) -> None:
        """End, without a word."""
        with contextlib.redirect_stdout(io.StringIO()):
            super().stop()

    def _guarded(self, answer: Answer) -> Answer:
        def guarded(connection: ServerConnection, request: Request) -> Response | None:
            names = [f"{name}:{connection.local_address[1]}" for name in (HOST, "localhost")]
            hosts, origins = (request.headers.get_all(name) for name in ("Host", "Origin"))
            is_ours = len(hosts) == 1 and hosts[0] in names
            is_ours &= all(origin.removeprefix("http://") in names for origin in origins)
            prefix, _, rest = request.path.removeprefix("/").partition("/")
            if not (is_ours and secrets.compare_digest(prefix.encode(), self.token.encode())):
                return connection.respond(http.HTTPStatus.FORBIDDEN, "Open the address that lift3d view printed.\n")
            request.path = f"/{rest}"
            response = answer(connection, request)
            return response if response is None else self._titled(response)

        return guarded

    def _titled(self, response: Response) -> Response:
        """Give the page its name, and what keeps it that of the scene that is shown.

        It is sent unpacked: on this machine that takes a moment, and packing it again a third of a second.
        """
        body = bytes(response.body or b"")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            if response.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
                del response.headers["Content-Encoding"]
            added = f"<title>{escape(self._title)}</title>{ADDED}".encode().replace(b"\\", b"\\\\")
            response.body = _TITLE.sub(added, body, count=1)
            del response.headers["Content-Length"]
            response.headers["Content-Length"] = str(len(response.body))
        return response


def start_server(port: int, title: str) -> LocalServer:
    """Serve an empty page of a name; viser's own banner is left out."""
    with contextlib.redirect_stdout(io.StringIO()):
        server = LocalServer(port, title)
    server.gui.configure_theme(
        control_width="large", show_logo=False, show_share_button=False, brand_color=(38, 99, 160)
    )
    # Beside the scene rather than on it.
    server.gui.main_panel.dock_right()
    # Nothing here casts a shadow or shines, and lights cost more than all points together.
    server.scene.configure_default_lights(enabled=False, cast_shadow=False)
    server.scene.configure_environment_map(None)
    first = server.initial_camera
    first.fov, first.near, first.far = FIELD_OF_VIEW, _NEAR, _FAR
    return server


@contextlib.contextmanager
def _served_through(guard: Callable[[Answer], Answer]) -> Iterator[list[Answer]]:
    """Put a guard before what answers requests to a server that starts in the block; yield what was guarded.

    viser hands its answers to websockets itself and lets nobody between.
    """
    guarded: list[Answer] = []
    serve = websockets.asyncio.server.serve

    def serve_guarded(*arguments: Any, process_request: Answer, **options: Any) -> Any:
        guarded.append(process_request)
        return serve(*arguments, process_request=guard(process_request), **options)

    websockets.asyncio.server.serve = serve_guarded  # type: ignore[assignment,misc]
    try:
        yield guarded
    finally:
        websockets.asyncio.server.serve = serve  # type: ignore[misc]
