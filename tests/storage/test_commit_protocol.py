import json
import threading
from collections import Counter

import pytest

from lift3d.errors import DamagedProductError, ProductMissingError, StoreLayoutError, StoreUnavailableError
from lift3d.storage import commit as protocol
from lift3d.storage.commit import Entry, Manifest, commit_attempt, committed
from lift3d.storage.documents import read_document, write_document
from lift3d.storage.layout import attempt_path, commit_path
from lift3d.storage.location import Store
from lift3d.storage.mending import mended, retract


def attempt_at(store: Store, path: str, content: bytes) -> Manifest:
    attempt = protocol.new_attempt()
    store.write_bytes(f"{attempt_path(path, attempt)}/x", content)
    return Manifest(attempt, {"x": Entry.of(content)}, {"who": content.decode()})


def test_documents_come_back_as_written(store):
    content = [{"value": 0.1, "name": "ümläut", "missing": None}, [], {}]
    assert write_document(store, "a/b", content).is_own
    assert read_document(store, "a/b") == content


def test_what_is_not_json_is_refused(local_store):
    for content in (float("nan"), {"a": float("inf")}, {1, 2}, b"x"):
        with pytest.raises(StoreLayoutError, match="plain JSON"):
            write_document(local_store, "a", content)
    assert committed(local_store, "a") is None


def test_a_product_without_marker_is_not_there(store):
    attempt_at(store, "a", b"x")
    assert committed(store, "a") is None
    with pytest.raises(ProductMissingError, match="/a"):
        read_document(store, "a")


def test_the_second_writer_adopts_the_first(store):
    first = write_document(store, "a", "first")
    second = write_document(store, "a", "second")
    assert (first.is_own, second.is_own) == (True, False)
    assert second.attempt == first.attempt
    assert read_document(store, "a") == "first"
    assert {key.split("/")[2] for key in store.list("a/attempts")} == {first.attempt}


def test_eight_racing_commits_have_one_winner(store):
    barrier = threading.Barrier(8)
    manifests = [attempt_at(store, "a", str(index).encode()) for index in range(8)]
    commits = []

    def race(manifest):
        barrier.wait()
        commits.append(commit_attempt(store, "a", manifest))

    threads = [threading.Thread(target=race, args=(manifest,)) for manifest in manifests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(commits) == 8
    assert sum(commit.is_own for commit in commits) == 1
    assert len({commit.attempt for commit in commits}) == 1
    winner = protocol.verify(store, "a", checksums=True)
    assert {key.split("/")[2] for key in store.list("a/attempts")} == {winner.attempt}


def test_a_lost_response_is_our_own_success(store, monkeypatch):
    create = Store.create_bytes

    def deaf(self, key, content):
        create(self, key, content)
        return create(self, key, content)

    manifest = attempt_at(store, "a", b"x")
    monkeypatch.setattr(Store, "create_bytes", deaf)
    assert commit_attempt(store, "a", manifest).is_own
    protocol.verify(store, "a", checksums=True)


def test_a_commit_whose_answer_never_came_can_be_tried_again(local_store, monkeypatch):
    create = Store.create_bytes

    def unplugged(self, key, content):
        create(self, key, content)
        raise StoreUnavailableError("the line is dead")

    manifest = attempt_at(local_store, "a", b"x")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "create_bytes", unplugged)
        with pytest.raises(StoreUnavailableError):
            commit_attempt(local_store, "a", manifest)
    assert commit_attempt(local_store, "a", manifest).is_own
    protocol.verify(local_store, "a", checksums=True)


def damage_marker(store, commit):
    store.write_bytes(commit_path("a"), b'{"attempt": "')


def damage_manifest(store, commit):
    key = f"{commit.folder}/MANIFEST.json"
    store.write_bytes(key, store.read_bytes(key) + b" ")


def delete_manifest(store, commit):
    store.delete_prefix(f"{commit.folder}/MANIFEST.json")


def flip_bit(store, commit):
    key = f"{commit.folder}/document.json"
    content = bytearray(store.read_bytes(key))
    content[1] ^= 1
    store.write_bytes(key, bytes(content))


def empty_object(store, commit):
    store.write_bytes(f"{commit.folder}/document.json", b"")


def delete_object(store, commit):
    store.delete_prefix(f"{commit.folder}/document.json")


@pytest.mark.fault(8, "a bit of a stored object is flipped; so are the marker and the manifest")
@pytest.mark.parametrize(
    "damage", [damage_marker, damage_manifest, delete_manifest, flip_bit, empty_object, delete_object]
)
def test_damage_is_an_error_with_a_remedy_and_is_taken_back(store, damage):
    damage(store, write_document(store, "a", "content"))
    with pytest.raises(DamagedProductError, match=r"a/.*Delete the product .*/a and run again") as caught:
        read_document(store, "a")
    assert caught.value.product == "a"
    with pytest.raises(DamagedProductError):
        protocol.verify(store, "a", checksums=True)
    if damage is not flip_bit:
        with pytest.raises(DamagedProductError):
            protocol.verify(store, "a")
    assert retract(store, "a")
    assert committed(store, "a") is None
    assert write_document(store, "a", "content").is_own
    assert read_document(store, "a") == "content"


def test_a_damaged_marker_never_leads_elsewhere(local_store):
    write_document(local_store, "a", "content")
    for attempt in ("../b", "", "x/y", 7, None, "A" * 32, "a" * 31):
        marker = json.dumps({"attempt": attempt, "manifest_sha256": "0" * 64}).encode()
        local_store.write_bytes(commit_path("a"), marker)
        with pytest.raises(DamagedProductError):
            committed(local_store, "a")


@pytest.mark.fault(8, "the first answer to every request is one bit wrong or cut short, the second is right")
@pytest.mark.parametrize("hurt", ["flipped", "cut"])
def test_what_is_hurt_on_its_way_is_read_once_more(local_store, monkeypatch, hurt):
    write_document(local_store, "a", "content")
    read = Store.read_bytes
    seen = Counter()

    def unsteady(self, key, *span):
        content = read(self, key, *span)
        seen[key] += 1
        if seen[key] > 1:
            return content
        return content[:-1] if hurt == "cut" else bytes([content[0] ^ 1]) + content[1:]

    monkeypatch.setattr(Store, "read_bytes", unsteady)
    assert read_document(local_store, "a") == "content"
    assert set(seen.values()) == {2}


def test_work_that_finds_damage_is_done_again_once_per_product(local_store):
    for path in ("a", "b"):
        empty_object(local_store, write_document(local_store, path, path))
    tries = []

    def work():
        tries.append(None)
        for path in ("a", "b"):
            if committed(local_store, path) is None:
                write_document(local_store, path, path)
        return [read_document(local_store, path) for path in ("a", "b")]

    assert mended(local_store, work) == ["a", "b"]
    assert len(tries) == 3


def test_what_is_damaged_again_is_given_up(local_store):
    tries = []

    def work():
        tries.append(None)
        empty_object(local_store, write_document(local_store, "a", "content"))
        read_document(local_store, "a")

    with pytest.raises(DamagedProductError):
        mended(local_store, work)
    assert len(tries) == 2


def test_what_another_worker_has_mended_stays(store):
    commit = write_document(store, "a", "content")
    assert not retract(store, "a")
    assert committed(store, "a").attempt == commit.attempt
    assert not retract(store, "never-there")


def test_taking_back_leaves_attempts_in_progress(store):
    empty_object(store, write_document(store, "a", "content"))
    manifest = attempt_at(store, "a", b"x")
    assert retract(store, "a")
    assert commit_attempt(store, "a", manifest).is_own
    protocol.verify(store, "a", checksums=True)
    assert {key.split("/")[2] for key in store.list("a/attempts")} == {manifest.attempt}


@pytest.mark.parametrize("slept_after", ["before", "manifest", "marker"])
def test_a_writer_that_was_collected_while_it_slept_commits_nothing(store, slept_after):
    manifest = attempt_at(store, "a", b"x")

    def collected(step):
        if step == slept_after:
            store.delete_prefix(attempt_path("a", manifest.attempt))

    collected("before")
    with pytest.raises(StoreUnavailableError, match="collected as garbage"):
        commit_attempt(store, "a", manifest, collected)
    assert committed(store, "a") is None
    assert write_document(store, "a", "anew").is_own
