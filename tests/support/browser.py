"""A browser for tests of pages: the machine's Chromium, driven by Playwright, that may talk to this machine alone."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# WebGL in software, and none of the calls home that a browser makes of itself.
# Names resolve to nothing, so that workers, whose requests cannot be watched, reach no other host either.
ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


def require_chromium() -> str:
    """Return the browser's program, LIFT3D_CHROMIUM or what the path has, or skip the test with the reason."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("LIFT3D_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if path is None or not Path(path).exists():
        pytest.skip("there is no Chromium: install one (apt-get install chromium), or name it by LIFT3D_CHROMIUM")
    return path


@dataclass
class Traffic:
    """Every address that pages asked for, WebSockets included; what is not on this machine was refused."""

    asked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on("websocket", lambda socket: self._note(socket.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def decide(self, route: Any) -> None:
        if self._note(route.request.url):
            route.continue_()
        else:
            route.abort()

    def _note(self, url: str) -> bool:
        self.asked.append(url[:200])
        parts = urlsplit(url)
        is_own = parts.scheme in ("data", "blob", "about", "file") or parts.hostname in (
            "127.0.0.1",
            "localhost",
            "::1",
        )
        if not is_own:
            self.refused.append(url[:200])
        return is_own


@contextmanager
def opened_page(width: int = 1280, height: int = 800, script: str = "") -> Iterator[tuple[Any, Traffic]]:
    """Open an empty page of a size in pixels, where a script runs in every document before its own."""
    path = require_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            context = browser.new_context(viewport={"width": width, "height": height})
            traffic = Traffic()
            context.route("**/*", traffic.decide)
            if script:
                context.add_init_script(script)
            page = context.new_page()
            traffic.watch(page)
            yield page, traffic
        finally:
            browser.close()
