"""The page as people have it: what is drawn, what a click answers, and that nothing leaves this machine."""

import math
import statistics
import threading
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from lift3d.results.cloud import Cloud
from lift3d.results.opened import open_lifted
from lift3d.viewer.choice import POINT_COUNTS, WITH_CARD
from lift3d.viewer.command import running_viewer
from lift3d.viewer.film import film_cameras
from lift3d.viewer.stage import Stage
from lift3d.viewer.surface_points import by_detail
from lift3d.viewer.transform import FIELD_OF_VIEW
from lift3d.viewer.unfolding import unfold
from tests.support.browser import opened_page, require_chromium
from tests.support.runs import run_into, small_recipe

pytestmark = pytest.mark.cluster

# Navigation to points on the canvas, when nothing of the store has been read; click to new colours in the browser; and
# of one core, a picture from where one stands, 512 pixels high, without the way to the browser.
BOUNDS_IN_MS, CLICKS = (3000, 200, 150), 7
# Notes when many points are first drawn, when their colours are handed to WebGL, and when the mouse was released.
NOTES = """(() => {
  const notes = window.notes = {drawn: null, colours: [], released: null, counts: new Set()};
  const gl = WebGL2RenderingContext.prototype;
  const plain = gl.drawArrays;
  gl.drawArrays = function (mode, first, count) {
    if (mode === this.POINTS && count > MANY) {
      if (notes.drawn === null) notes.drawn = performance.now();
      notes.counts.add(count);
    }
    return plain.call(this, mode, first, count);
  };
  for (const name of ['bufferData', 'bufferSubData']) {
    const plain = gl[name];
    gl[name] = function (...given) {
      if (given.some(one => one && notes.counts.has(one.byteLength / 3))) notes.colours.push(performance.now());
      return plain.apply(this, given);
    };
  }
  addEventListener('pointerup', () => { notes.released = performance.now(); notes.colours.length = 0; }, true);
})();"""

# Says that there is one, as UNMASKED_RENDERER_WEBGL.
GRAPHICS_CARD = """(() => {
  const plain = WebGL2RenderingContext.prototype.getParameter;
  WebGL2RenderingContext.prototype.getParameter = function (name) {
    return name === 0x9246 ? "A graphics card" : plain.call(this, name);
  };
})();"""


@dataclass
class Look:
    page: object
    traffic: object
    session: object
    viewer: object

    def click(self, at):
        """Click a place of the page's own coordinates; return the milliseconds until new colours, None if none came."""
        self.page.mouse.click(*self.pixel_of(at))
        try:
            self.page.wait_for_function("notes.colours.length > 0", timeout=20000)
        except Exception:
            return None
        return self.page.evaluate("notes.colours[0] - notes.released")

    def pixel_of(self, at):
        """Where a place is in the window, seen from the first eye."""
        to_page = self.session.stage.to_page
        forward = -to_page.eye / to_page.eye.norm()
        right = torch.linalg.cross(forward, to_page.up)
        right = right / right.norm()
        offset = at.double() - to_page.eye
        box = self.page.evaluate(
            "(() => { const r = [...document.querySelectorAll('canvas')].map(c => c.getBoundingClientRect())"
            ".sort((a, b) => b.width - a.width)[0]; return [r.left, r.top, r.width, r.height]; })()"
        )
        focal = box[3] / 2 / math.tan(FIELD_OF_VIEW / 2) / float(offset @ forward)
        down = -torch.linalg.cross(right, forward)
        x, y = float(offset @ right) * focal, float(offset @ down) * focal
        return box[0] + box[2] / 2 + x, box[1] + box[3] / 2 + y

    def settle(self):
        """Wait until frames come quickly again, as after somebody has looked at an answer."""
        self.page.wait_for_timeout(1500)
        for _ in range(40):
            waited = self.page.evaluate(
                "new Promise(done => { const t = performance.now(); let n = 0;"
                "const step = () => ++n < 5 ? requestAnimationFrame(step) : done(performance.now() - t);"
                "requestAnimationFrame(step); })"
            )
            if waited < 200:
                return
            self.page.wait_for_timeout(250)

    def wait(self, is_true):
        for _ in range(200):
            if is_true():
                return
            self.page.wait_for_timeout(50)
        raise TimeoutError("the session did not hear of it")


def look_at(store, least=0, **choice):
    """Yield a page that has drawn a store, and say how long that took."""
    with (
        running_viewer(open_lifted(store, **choice), 0) as viewer,
        opened_page(1280, 800, NOTES.replace("MANY", "300")) as (page, traffic),
    ):
        # As the command does: the browser comes when nothing has been read.
        reading = threading.Thread(target=viewer.read)
        reading.start()
        page.goto(viewer.address)
        page.wait_for_function("notes.drawn !== null", timeout=60000)
        while not viewer.sessions or viewer.sessions[0].viewed.is_sketch:
            page.wait_for_timeout(50)
        session = viewer.sessions[0]
        reading.join()
        if least > len(session.viewed.cloud):
            with session.turn():
                unfold(session, denser(session.stage, least))
        yield Look(page, traffic, session, viewer)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    require_chromium()
    url = str(tmp_path_factory.mktemp("browsed") / "store")
    run_into(url, small_recipe(operators=["tiny:clip", "rgb"], lifters=["anchored"], metrics=["feature_cosine"]))
    yield from look_at(url)


# Before the others, whose browser stays open for all of them.
@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_views_and_a_million_points_are_there_and_answer_quickly(test_data, tmp_path):
    require_chromium()
    capture = str(test_data / "captures" / "kitchen")
    fields = {"operators": ["hog"], "lifters": ["anchored"], "metrics": ["coverage"], "target_mode": "refine"}
    url, measured = str(tmp_path / "store"), []
    run_into(url, small_recipe(scenes=[capture], image_height=256, **fields))
    for least in (100_000, 1_000_000):
        for look in look_at(url, least):
            session, loaded = look.session, look.page.evaluate("notes.drawn")
            assert len(session.viewed.slices) == 100
            assert len(session.viewed.cloud) >= least
            answers, pictures = answers_of(look), pictures_of(look)
            click, picture = statistics.median(answers), statistics.median(pictures)
            print(
                f"\n{len(session.viewed.cloud):,} points, {len(session.drawing.points):,} drawn: page {loaded:.0f} ms"
            )
            print(f"click {click:.0f} ms of {[*map(round, answers)]}, picture {picture:.0f} ms of a core")
            assert look.traffic.refused == []
            assert len(answers) >= 3
            # The middle one: a single click may meet the end of what a browser does of itself.
            measured.append((loaded, click, picture))
    assert all(one < bound for of_store in measured for one, bound in zip(of_store, BOUNDS_IN_MS, strict=True))


def test_the_page_says_what_it_shows_nothing_leaves_this_machine_and_nothing_breaks(room):
    room.settle()
    assert room.traffic.refused == []
    assert room.traffic.errors == []
    hosts = {one.split("/")[2].split(":")[0] for one in room.traffic.asked if "://" in one}
    assert hosts == {"127.0.0.1"}
    assert any(one.startswith("ws://127.0.0.1") for one in room.traffic.asked)
    text = room.page.inner_text("body")
    assert "6 cameras" in text
    assert f"{len(room.session.drawing.drawn):,} points" in text
    assert "Click a point" in text
    assert "draws without a graphics card" in text


def test_every_input_has_a_name(room):
    for label in ("Points and crop", "Labels"):
        room.page.get_by_text(label, exact=True).click()
    room.session.find_masks()
    room.page.get_by_label("Called").wait_for()
    shown = [one for one in room.page.locator("input, [role=slider]").all() if one.is_visible()]
    names = [one.evaluate("one => one.ariaLabel || one.labels?.[0]?.textContent || one.outerHTML") for one in shown]
    assert {"Find words", "Model", "Left", "Called"} <= {*names}
    assert not [one for one in names if "<" in one]
    for label in ("Points and crop", "Labels"):
        room.page.get_by_text(label, exact=True).click()
    room.session.colour("photo")


def test_a_click_on_a_point_asks_for_it(room):
    room.session.ask_point(None)
    drawn = room.session.drawing.points
    # Of points in the middle of the window the foremost hides what is behind it: it is its own answer.
    nearest = drawn[(drawn - room.session.stage.to_page.eye).norm(dim=1).argmin()]
    room.settle()
    assert room.click(nearest) is not None
    room.wait(lambda: room.session.mode.point is not None)
    asked = room.session.stage.to_page(room.session.viewed.cloud.xyz[room.session.mode.point])
    assert float((asked - nearest).norm()) < 0.1
    assert "magenta dot" in room.page.inner_text("body")


def test_the_switch_changes_the_colours(room):
    room.session.colour("features")
    room.settle()
    before = room.session.colours.points
    room.page.get_by_role("button", name="Switch to plain 2D").click()
    room.page.wait_for_function("notes.colours.length > 0", timeout=20000)
    assert not room.session.mode.is_lifted
    assert (room.session.colours.points != before).any()
    room.page.get_by_role("button", name="Switch to lifted").click()
    room.wait(lambda: room.session.mode.is_lifted)


def test_words_are_found_at_enter(room):
    box = room.page.get_by_label("Find words")
    room.settle()
    box.fill("red")
    # The last letters are on their way still when they are asked for.
    box.press_sequentially(" ball")
    box.press("Enter")
    room.wait(lambda: room.session.mode.texts is not None)
    room.page.get_by_text("“red ball”").wait_for(timeout=20000)
    room.page.get_by_role("button", name="Forget the question").click()
    room.wait(lambda: room.session.mode.texts is None)


def test_a_click_on_a_picture_looks_through_its_camera(room):
    session = room.session
    room.page.get_by_label("Cameras").click()
    room.page.get_by_text("with their pictures").click()
    room.wait(lambda: session.cameras.style == "pictures")
    to_page = session.stage.to_page
    middles = [to_page(one.center) + to_page.picture_distance * one.c2w[:3, 2] for one in session.viewed.cameras]
    middle = min(middles, key=lambda one: float((one - to_page.eye).norm()))
    room.settle()
    room.page.mouse.click(*room.pixel_of(middle))
    room.wait(lambda: session.through >= 0)
    room.page.get_by_text("You look through camera").wait_for(timeout=20000)
    place = session.viewed.slices[session.through]
    client = session.page
    room.wait(lambda: abs(client.camera.position - to_page(place.camera.center).numpy()).max() < 1e-3)
    room.page.get_by_role("button", name="Look from outside").click()
    room.wait(lambda: abs(client.camera.position - to_page.eye.numpy()).max() < 1e-3)
    assert room.traffic.errors == []


def test_a_reload_keeps_the_choice_and_the_eye_and_another_browser_has_its_own(room):
    session = room.session
    session.colour("features")
    session.ask_words("a red ball")
    room.settle()
    room.page.mouse.move(400, 400)
    room.page.mouse.wheel(0, -400)
    room.wait(lambda: session.choice.eye is not None and session.choice.colouring == "features")
    room.settle()
    kept = session.choice
    room.page.reload()
    room.wait(lambda: [one for one in room.viewer.sessions if one is not session] and len(room.viewer.sessions) == 1)
    again = room.viewer.sessions[0]
    room.wait(lambda: abs(again.page.camera.position - np.array(kept.eye.position)).max() < 1e-2)
    assert again.choice.colouring == "features"
    room.wait(lambda: again.choice.words == "a red ball" and again.mode.texts is not None)
    assert room.page.get_by_label("Find words").input_value() == "a red ball"
    assert room.page.title() == again.choice.scene
    assert again.choice.count == POINT_COUNTS[0]
    with room.page.context.browser.new_context() as other:
        other.add_init_script(GRAPHICS_CARD)
        page = other.new_page()
        page.goto(room.viewer.address)
        room.wait(lambda: len(room.viewer.sessions) == 2)
        assert room.viewer.sessions[1].choice.colouring == "photo"
        # One that draws with a graphics card is shown more points at once.
        room.wait(lambda: room.viewer.sessions[1].choice.count == WITH_CARD)
        assert room.viewer.sessions[1].panel.most_points == WITH_CARD
    room.wait(lambda: len(room.viewer.sessions) == 1)


def denser(stage, least):
    """Return a scene with so many points at least: each is several, beside each other, that answer alike."""
    viewed, surface = stage.viewed, stage.viewed.surface
    times = math.ceil(least / len(surface))
    at = torch.arange(len(surface)).repeat(times)
    cloud, radius = surface.cloud, surface.radius[at] / math.sqrt(times)
    apart = torch.randn(len(at), 3, generator=torch.Generator().manual_seed(0)) * surface.radius[at][:, None] / 2
    xyz = cloud.xyz[at] + (apart if times > 1 else 0)
    order, level = by_detail(xyz, radius)
    at = at[order]
    many = Cloud(xyz[order], cloud.normals[at], cloud.view[at], cloud.uv[at], len(at))
    photo = surface.photo[at]
    dense = replace(surface, cloud=many, radius=radius[order], level=level, views=surface.views[at], photo=photo)
    lifted, plain = (
        replace(one, at_points=one.at_points[at], label=one.label[at]) for one in (viewed.lifted, viewed.plain)
    )
    return Stage(stage.lifted, replace(viewed, surface=dense, lifted=lifted, plain=plain))


def answers_of(look):
    """Click at points here and there; return the milliseconds until each is answered."""
    points = look.session.drawing.points
    inner = points[points.norm(dim=1) < 0.5]
    answers = []
    for index in range(CLICKS):
        look.settle()
        answers.append(look.click(inner[(index * len(inner)) // CLICKS]))
    return [one for one in answers if one is not None]


def pictures_of(look):
    """Draw pictures along the cameras of the capture; return the milliseconds of one core that each takes."""
    visit, times = next(iter(look.viewer.visits.values())), []
    for camera in film_cameras(look.session.stage)[::10]:
        begin = time.thread_time()
        visit.picture(replace(camera, height=512, width=round(512 * camera.width / camera.height)))
        times.append(1000 * (time.thread_time() - begin))
    return times
