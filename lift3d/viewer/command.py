"""``lift3d view``: a page on this machine that shows what was lifted, until it is told to end."""

import contextlib
import os
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass, field

import click

from lift3d.domain.keys import shown
from lift3d.errors import ConfigError
from lift3d.extras import extra
from lift3d.results.lifted_scene import LiftedScene

with extra("view"):
    import viser

    from lift3d.viewer.library import Library
    from lift3d.viewer.notice import reading_notice
    from lift3d.viewer.server import HOST, start_server
    from lift3d.viewer.session import Session
    from lift3d.viewer.unfolding import unfold_when_read
    from lift3d.viewer.visit import Visit

_LAST_PORT = 65535
# A browser comes, is told of a sketch, and has drawn it.
_SEEN_WITHIN_S, _DRAWN_WITHIN_S = 5.0, 1.0


def serve_viewer(first: LiftedScene, port: int, is_opened: bool = True) -> None:
    """Show a run in the browser until Ctrl-C, see ``running_viewer``."""
    with contextlib.suppress(KeyboardInterrupt), running_viewer(first, port) as viewer:
        click.echo(f"view     {viewer.address}")
        if is_opened:
            _open_browser(viewer.address)
        # Browsers that come meanwhile see how far that is; a store that cannot be read ends everything.
        viewer.read()
        click.echo(viewer.to_text())
        while True:
            time.sleep(3600)


@dataclass(frozen=True, slots=True)
class RunningViewer:
    """A viewer that serves at a port of this machine, and the browsers that look."""

    library: Library
    port: int
    token: str
    visits: dict[int, Visit] = field(default_factory=dict)
    _gone: set[int] = field(default_factory=set)
    _is_seen: threading.Event = field(default_factory=threading.Event)
    _is_over: threading.Event = field(default_factory=threading.Event)

    @property
    def sessions(self) -> list[Session]:
        """Of the browsers, the latest last."""
        return [visit.session for visit in self.visits.values()]

    @property
    def address(self) -> str:
        """What a browser on this machine opens; who does not know all of it gets nothing."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def to_text(self) -> str:
        """Say what it shows, and how to see it from elsewhere."""
        one = self.library.first
        viewed = self.library.stage(one).viewed
        counts = f"{len(viewed.slices)} cameras, {len(viewed.cloud):,} points"
        what = shown(f"{one.title}: {counts}")
        return (
            f"shows    {what} ({viewed.feature_bytes / 2**20:.0f} MiB of features in memory)\n"
            f"remote   ssh -L {self.port}:{HOST}:{self.port} this-machine, then open the same address there\n"
            "end      Ctrl-C"
        )

    def read(self) -> None:
        """Read what is shown first: a sketch at once, and the rest when a browser shows that, or none comes for it."""
        if self.library.sight(self.library.first).viewed.is_sketch:
            self._is_seen.wait(_SEEN_WITHIN_S)
            self.library.stage(self.library.first)

    def meet(self, client: viser.ClientHandle) -> None:
        """Show a browser what it wants, when that has been read."""
        try:
            with reading_notice(client, self.library):
                visit = self.visits[client.client_id] = Visit(client, self.library)
        except Exception:
            # Of a viewer that ends nobody waits for what is read, and threads can do nothing more.
            if not self._is_over.is_set():
                raise
            return
        # Who waited may have left meanwhile.
        if client.client_id in self._gone or self._is_over.is_set():
            self.part(client)
            return
        # The browser draws before anything else is worked on.
        time.sleep(_DRAWN_WITHIN_S)
        self._is_seen.set()
        if not visit.session.is_over:
            visit.suit_renderer()
            unfold_when_read(visit.session)

    def end(self) -> None:
        """Whatever browsers still wait for is not told any more."""
        self._is_over.set()
        self.library.end()
        for visit in tuple(self.visits.values()):
            visit.stop()

    def part(self, client: viser.ClientHandle) -> None:
        """Forget a browser."""
        self._gone.add(client.client_id)
        if (visit := self.visits.pop(client.client_id, None)) is not None:
            visit.stop()


@contextlib.contextmanager
def running_viewer(first: LiftedScene, port: int) -> Iterator[RunningViewer]:
    """Serve a run while the context lasts; ConfigError if the port (0: any that is free) is taken, or none.

    Of the plug-ins and files that the store names, only those are loaded, for words, that ``first`` trusts.
    """
    check_port(port)
    library = Library(first)
    server = start_server(port, first.name)
    try:
        if port not in (0, server.get_port()):
            raise _taken(port)  # somebody was faster, and the server took the next one
        viewer = RunningViewer(library, server.get_port(), server.token)
        server.on_client_connect(viewer.meet)
        server.on_client_disconnect(viewer.part)
        try:
            yield viewer
        finally:
            viewer.end()
    finally:
        server.stop()


def check_port(port: int) -> None:
    """Fail before anything is read if nothing can be served at a port."""
    if not 0 <= port <= _LAST_PORT:
        raise ConfigError(f"A port is a number from 0 (any that is free) to {_LAST_PORT}, got {port}; see --port.")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise ConfigError(
                f"Port {port} needs rights that you do not have; give one above 1023 with --port."
            ) from error
        except OSError as error:
            raise _taken(port) from error


def _taken(port: int) -> ConfigError:
    return ConfigError(
        f"Port {port} on {HOST} is taken, perhaps by another viewer; end that, or give another port: --port {port + 1}."
    )


def _open_browser(address: str) -> None:
    """Open a browser where there is a screen; on others Python may start a browser of text in this terminal."""
    has_screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    # The address is printed: whatever goes wrong here, people can open it.
    with contextlib.suppress(Exception):
        if has_screen:
            webbrowser.open(address)
