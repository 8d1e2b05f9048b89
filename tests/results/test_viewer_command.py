import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import webbrowser
from dataclasses import replace
from urllib.request import urlopen

import numpy as np
import pytest
import torch

from lift3d.cli.app import app
from lift3d.errors import ConfigError, DamagedProductError
from lift3d.results.opened import open_lifted
from lift3d.results.query.words import can_take_words, embedded, text_encoder
from lift3d.surface.cloud import SurfacePoints
from lift3d.viewer import command as view_command
from lift3d.viewer import gathering
from lift3d.viewer.choice import Choice, Eye, Filter
from lift3d.viewer.command import check_port, running_viewer
from lift3d.viewer.film import film
from lift3d.viewer.labels import points_file
from lift3d.viewer.library import Library, ViewerEnd
from lift3d.viewer.mesh import COARSE, FINE
from lift3d.viewer.server import start_server
from lift3d.viewer.session import Session
from lift3d.viewer.unfolding import unfold_when_read
from tests.support.runs import run_into, small_recipe


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("served") / "store")
    names = {"operators": ["tiny:clip", "hog"], "lifters": ["anchored", "plane_sweep"]}
    run_into(url, small_recipe(**names, metrics=["feature_cosine"]))
    return url


@pytest.fixture
def sketched(monkeypatch):
    """Let scenes of more than three views have a sketch of three."""
    monkeypatch.setattr(gathering, "SKETCH_VIEWS", 3)
    monkeypatch.setattr(gathering, "_FEW_VIEWS", 3)


@contextlib.contextmanager
def session_of(first):
    """A session without a browser, that of a scene."""
    server = start_server(0, "room")
    try:
        library = Library(first)
        yield Session(server, library, Choice(first.recipe.run_id, first.name, first.operator, first.lifter))
    finally:
        server.stop()


def all_read():
    """Wait for whoever reads."""
    for one in threading.enumerate():
        if one.name == "lift3d-read":
            one.join(60)


@pytest.fixture
def taken_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_port_that_is_taken_is_said_before_anything_is_read(taken_port):
    with pytest.raises(ConfigError, match=rf"Port {taken_port} on 127.0.0.1 is taken.*--port {taken_port + 1}"):
        app(["view", "/no/such/store", "--port", str(taken_port)], standalone_mode=False)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none(port):
    with pytest.raises(ConfigError, match="--port"):
        check_port(port)


def test_no_browser_of_text_is_started_where_there_is_no_screen(monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    view_command._open_browser("http://127.0.0.1:1")
    assert opened == []
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    view_command._open_browser("http://127.0.0.1:1")
    assert opened == ["http://127.0.0.1:1"]

    def fail(address):
        raise webbrowser.Error(address)

    # One that cannot be opened is no trouble.
    monkeypatch.setattr(webbrowser, "open", fail)
    view_command._open_browser("http://127.0.0.1:1")


def test_who_can_take_words():
    for name in ("tiny:clip", "open_clip:ViT-B-16/laion2b_s34b_b88k", "open_vocabulary?prompts=ball&of=tiny:clip"):
        assert can_take_words(name) == ""
    for name in ("rgb", "hog", "tiny:segmenter", "timm:vit_tiny_patch16_224", "no name"):
        assert "pictures only" in can_take_words(name)
    assert "plug-in" in can_take_words("mine", ["mine.py:mine"])
    # Who names it himself may ask; whether it reads words is seen then.
    assert can_take_words("mine", ["mine.py:mine"], ["mine.py:mine"]) == ""
    assert "pictures only" in can_take_words("rgb", ["mine.py:mine"], ["mine.py:mine"])
    with pytest.raises(ConfigError, match="encode_text"):
        text_encoder("hog")


def test_words_are_put_as_the_model_has_learned_them():
    encoder = text_encoder("tiny:clip")
    assert embedded(encoder, "red ball").equal(embedded(encoder, " a red ball "))
    for words in ("", "   ", "x" * 300):
        with pytest.raises(ConfigError, match="up to 200"):
            embedded(encoder, words)
    assert text_encoder("open_vocabulary?prompts=red ball&of=tiny:clip").encode_text(["a ball"]).shape[0] == 1


@pytest.mark.cluster
def test_a_sketch_is_asked_while_all_is_read_and_then_all_is_asked_the_same(store, sketched):
    first = open_lifted(store, operator="tiny:clip")
    with session_of(first) as session:
        library = session.library
        sketch = session.stage
        assert sketch.viewed.is_sketch
        assert library.sight(first) is sketch
        session.ask_point(5)
        session.enter(1)
        session.filter(Filter(least_views=6))
        assert "3 of 6 cameras" in session.panel.summary.content
        asked, target = sketch.viewed.cloud.xyz[5], sketch.viewed.slices[1].target
        # Who looks at a sketch does not wait for who reads.
        with library._reading:
            unfold_when_read(session)
            assert session.stage is sketch
            assert library.sight(first) is sketch
            session.draw()
        all_read()
        whole = session.stage
        assert whole is library.stage(first) is library.sight(first)
        assert len(whole.viewed.slices) == 6
        assert whole.to_page is sketch.to_page
        assert float((whole.viewed.cloud.xyz[session.mode.point] - asked).norm()) < 2 * whole.viewed.surface.spacing
        assert whole.viewed.slices[session.through].target == target
        assert session.choice.shown == Filter(least_views=6)
        assert "first look" not in session.panel.summary.content
        # What is held is there while others are read.
        with library._reading:
            assert library.stage(first) is library.sight(first) is whole
        # Another model of the scene stands where this one does, and of it there is no sketch.
        other = library.sight(open_lifted(store, operator="hog"))
        assert not other.viewed.is_sketch
        assert other.to_page is whole.to_page


@pytest.mark.cluster
def test_a_sketch_stays_and_says_why_where_all_cannot_be_read_and_ends_with_the_viewer(store, sketched, monkeypatch):
    first = open_lifted(store, operator="tiny:clip")
    with session_of(first) as session:
        library = session.library
        sketch = session.stage

        def fail(*_, **__):
            raise DamagedProductError("A <b>part</b> is damaged.", product="p")

        with monkeypatch.context() as patched:
            patched.setattr("lift3d.viewer.library.view_scene", fail)
            unfold_when_read(session)
            all_read()
        assert session.stage is sketch
        assert "cannot be read: A &lt;b&gt;part" in session.panel.summary.content
        library.end()
        with pytest.raises(ViewerEnd):
            library.stage(first)
        unfold_when_read(session)
        all_read()
        assert session.stage is sketch


def test_what_a_sketch_without_points_shows_does_not_place_the_scene(store, sketched, monkeypatch):
    first = open_lifted(store, operator="hog")
    library = Library(first)
    with monkeypatch.context() as patched:
        nothing = torch.zeros(0, 3, dtype=torch.float64)
        none = SurfacePoints(nothing, nothing, 0.0, 0)
        patched.setattr("lift3d.viewer.surface_points.surface_points", lambda surface, most: none)
        assert len(library.sight(first).viewed.cloud) == 0
    whole = library.stage(first)
    assert whole.to_page.scale == Library(first).stage(first).to_page.scale


@pytest.mark.cluster
def test_things_of_a_sketch_are_those_of_all_views(store, sketched):
    first = open_lifted(store, operator="hog")
    with session_of(first) as session:
        assert session.viewed.is_sketch
        session.find_masks()
        assert not session.viewed.is_sketch
        assert len(session.labels.ids) == len(session.viewed.cloud)


@pytest.mark.cluster
def test_a_session_answers_without_a_browser(store):
    first = open_lifted(store, operator="tiny:clip")
    server = start_server(0, "room <b>")
    try:
        assert server.get_host() == "127.0.0.1"
        assert server.request_share_url() is None
        with urlopen(f"http://127.0.0.1:{server.get_port()}/{server.token}/") as page:
            assert b"<title>room &lt;b&gt;</title>" in page.read()
        library = Library(first)
        choice = Choice(first.recipe.run_id, first.name, first.operator, first.lifter)
        session = Session(server, library, choice)

        def colours():
            return np.concatenate([one.colors for one in session.drawing.clouds])

        photo = colours()
        session.ask_words("red ball")
        assert session.mode.texts is not None
        assert "red ball" in session.panel.meaning.content
        assert (colours() != photo).any()
        session.ask_words("<b>")
        assert "<b>" not in session.panel.meaning.content + session.panel.words_note.content
        session.ask_point(0)
        assert session.mode.texts is None
        lifted = colours()
        session.switch(False)
        assert (colours() != lifted).any()
        session.ask_point(None)
        assert (colours() == photo).all()
        few = Filter(least_views=int(session.viewed.surface.views.max()))
        session.filter(few)
        assert 0 < len(session.shown_points.index) < len(session.viewed.cloud)
        assert len(colours()) == len(session.shown_points.index)
        session.filter(Filter())
        shares = []
        content = film((), session.stage, 0.1, lambda camera: session.surface.picture(camera, False), shares.append)
        assert content[4:8] == b"ftyp"
        assert shares == [0.0, 0.5]
        file = points_file(first, session.viewed, session.viewed.surface.views > 2, session.colours.points, None)
        assert f"element vertex {int((session.viewed.surface.views > 2).sum())}".encode() in file
        session.find_masks()
        assert session.labels.source == "thing"
        # Where one stood and what was cut away mean nothing in another place.
        somewhere = Eye((1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 1.0)
        elsewhere = replace(session.choice, scene="elsewhere", eye=somewhere, shown=Filter(2, x=(0.0, 1.0)))
        fitting = session.stage.fitting(elsewhere)
        assert (fitting.scene, fitting.eye, fitting.shown) == (first.name, None, Filter(2))
        assert session.mode.colouring == "things"
        biggest = session.labels.listed[0][0]
        session.label(hidden={biggest}, name=(biggest, "floor"))
        assert not bool((session.labels.ids[session.shown_points.index] == biggest).any())
        assert "<s>floor</s>" in session.panel.legend.content
        session.panel.label.value = other = session.panel.label.options[-1]
        session.label(name=(session.panel.chosen_label, "<b>"))
        assert session.panel.label.value == f"{other.partition(':')[0]}: <b>"
        kept = session.choice.to_text()
        session.choose(first.name, "hog", "plane_sweep")
        assert (session.choice.operator, session.choice.lifter) == ("hog", "plane_sweep")
        assert session.panel.words.disabled
        assert "pictures only" in session.panel.words_note.content
        session.ask_words("ball")
        assert session.mode.texts is None
        # What a scene does not have is not chosen.
        session.choose("nowhere", "nothing", "nobody")
        assert session.choice.operator == "tiny:clip"
        # A run of which nothing was lifted is said, and what was shown stays.
        session.choose(first.name, "hog", "anchored", "no <b>run")
        assert session.choice.operator == "tiny:clip"
        assert "no &lt;b&gt;run" in session.panel.summary.content
        # A page that comes back, to triangles: few at once, and all of them.
        assert len(session.stage.mesh(COARSE).faces) < len(session.stage.mesh(FINE).faces)
        again = Session(server, library, replace(Choice.of(kept, choice), shape="mesh"))
        assert again.mode.colouring == "things"
        assert again.hidden == {biggest}
        assert again.labels.name(biggest) == "floor"
        assert not again.drawing.clouds
    finally:
        server.stop()


@pytest.mark.cluster
def test_a_port_that_somebody_took_meanwhile(store, taken_port, monkeypatch):
    monkeypatch.setattr(view_command, "check_port", lambda port: None)
    with pytest.raises(ConfigError, match="--port"), running_viewer(open_lifted(store), taken_port):
        pass


@pytest.mark.cluster
def test_the_end_is_quiet(store):
    command = [sys.executable, "-m", "lift3d", "view", store, "--port", "0", "--no-open"]
    to_us = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(
        command,
        **to_us,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # What a shell starts in the background ignores it, and so would we.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("end"):
                break
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "http://127.0.0.1:" in "".join(said)
    assert "viser" not in "".join(said)
    assert "Traceback" not in rest
    assert process.returncode == 0
