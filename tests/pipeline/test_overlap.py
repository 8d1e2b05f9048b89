"""Threads beside the one that asks change when something is done, not what comes of it, nor how much is held."""

import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from lift3d import overlap
from lift3d.errors import StoreFullError
from lift3d.overlap import IN_FLIGHT, THREADS, ahead, behind
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.scenes import file_frame
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.tracks import find_tracks
from lift3d.storage.location import open_store
from tests.support import captures


@pytest.fixture
def with_cores(monkeypatch):
    """Returns what says how many cores there are."""

    def said(count):
        monkeypatch.setattr(overlap, "_cores", count)
        return count

    return said


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_results_and_errors_come_in_turn_each_at_its_own_place(with_cores, cores):
    with_cores(cores)

    def inverse(number):
        time.sleep(0.002 * (number % 3))
        return 1 / number

    found = []
    for number, result in zip(range(-4, 5), ahead(inverse, range(-4, 5)), strict=True):
        if number == 0:
            with pytest.raises(ZeroDivisionError):
                result()
        else:
            found.append(result())
    assert found == [1 / number for number in range(-4, 5) if number]


def test_no_more_is_begun_than_may_be_in_flight_and_nothing_after_the_end(with_cores):
    with_cores(2)
    begun, at_once, threads = [], [0], threading.Semaphore(THREADS)

    def work(number):
        assert threads.acquire(blocking=False)
        begun.append(number)
        time.sleep(0.001)
        threads.release()
        return number

    results = ahead(work, range(100))
    for asked in range(1, 20):
        assert next(results)() == asked - 1
        at_once.append(len(begun) - asked)
    assert max(at_once) <= IN_FLIGHT
    results.close()
    count = len(begun)
    time.sleep(0.01)
    assert len(begun) == count < 20 + IN_FLIGHT


def test_with_one_core_nothing_is_begun_before_it_is_asked_for_nor_by_another_thread(with_cores):
    with_cores(1)
    for result in ahead(lambda number: (number, threading.get_ident()), range(3)):
        assert result()[1] == threading.get_ident()
    assert [*ahead(lambda number: 1 / number, [0])], "nobody asked"


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A capture of nine views: the third and the last do not decode, and no pixel of the sixth is valid."""
    folder = tmp_path_factory.mktemp("capture")
    captures.write_transforms(folder, captures.capture(9))
    scene = read_scene(str(folder))
    files = [Path(view.source.image) for view in scene.views]
    for file in (files[2], files[8]):
        file.write_bytes(file.read_bytes()[:200])
    Image.new("RGBA", (captures.WIDTH, captures.HEIGHT)).save(files[5])
    return scene


def test_views_are_dropped_in_the_same_order_for_the_same_reasons_and_the_others_are_the_same(with_cores, damaged):
    walks = []
    for cores in (1, 2):
        with_cores(cores)
        inputs, said = SceneInputs(damaged, open_store("memory://overlap", create=True), 40), []
        inputs.decode_all(lambda *report: said.append(report))  # noqa: B023
        walks.append((inputs.dropped, [*inputs.views], said))
        frames = [inputs.frame(name) for name in inputs.views]
        inputs.decode_all(lambda *report: pytest.fail("what is held is decoded again"))
        walks[-1] += ([frame.image.numpy().tobytes() for frame in frames],)
    assert walks[0] == walks[1]
    assert [one.id for one in walks[0][0]] == [damaged.views[number].id for number in (2, 5, 8)]
    assert [count for _, count, _ in walks[0][2]] == [*range(9)]


def test_what_is_not_the_views_fault_is_raised_where_it_was(with_cores, damaged, monkeypatch):
    load = FileFrame.load

    def fails(self, camera, size):
        if self.image == damaged.views[4].source.image:
            raise StoreFullError("no room")
        return load(self, camera, size)

    monkeypatch.setattr(FileFrame, "load", fails)
    for cores in (1, 2):
        with_cores(cores)
        inputs = SceneInputs(damaged, open_store("memory://overlap", create=True), 40)
        with pytest.raises(StoreFullError, match="no room"):
            inputs.decode_all(quiet)
        assert [one.id for one in inputs.dropped] == [damaged.views[2].id]


def test_tracks_are_the_same_to_the_bit(with_cores):
    scene = read_scene("procedural:room?seed=2&views=6&height=120&width=160")
    alone, beside = (find_tracks(scene) for cores in (1, 2) if with_cores(cores))
    for name in ("points", "point_index", "view_index", "uv"):
        assert torch.equal(getattr(alone, name), getattr(beside, name)), name


def test_of_large_files_one_is_decoded_at_a_time(with_cores, tmp_path, monkeypatch):
    with_cores(2)
    monkeypatch.setattr(file_frame, "LARGE_BYTES", 0)
    decode, alone = file_frame.decode_color, threading.Lock()

    def looked_at(*arguments):
        assert alone.acquire(blocking=False)
        time.sleep(0.002)
        found = decode(*arguments)
        alone.release()
        return found

    monkeypatch.setattr(file_frame, "decode_color", looked_at)
    scene = captures.read_transforms(tmp_path, captures.capture(6))
    inputs = SceneInputs(scene, open_store("memory://overlap", create=True), 40)
    inputs.decode_all(quiet)
    assert len(inputs.views) == 6


def test_what_is_left_behind_is_done_in_turn_by_one_thread_and_all_of_it_at_the_end():
    done, begun = [], []

    def one(number):
        time.sleep(0.002 * (number % 2))
        done.append((number, threading.get_ident()))

    with behind() as do:
        for number in range(9):
            do(partial(one, number))
            begun.append(number)
            assert len(begun) - len(done) <= 2
    assert [number for number, _ in done] == [*range(9)]
    assert len({thread for _, thread in done} - {threading.get_ident()}) == 1


def all_behind(*works):
    with behind() as do:
        for work in works:
            do(work)


@pytest.mark.parametrize("more", [0, 1, 5])
def test_what_fails_behind_is_raised_and_nothing_is_done_after_it(more):
    done = []
    with pytest.raises(ZeroDivisionError):
        all_behind(partial(done.append, 1), lambda: 1 / 0, *[partial(done.append, 2)] * more)
    assert done == [1]
