"""What is another's stays: names of objects are no patterns, and links that lead out of a store are closed."""

import os
import shutil
import uuid

import pytest

from lift3d.errors import StoreRefusedError
from lift3d.storage.commit import remove_product, withdraw
from lift3d.storage.garbage import Garbage, collect
from lift3d.storage.location import open_store
from tests.support.forged import command, is_refused

KIND = "2 another's data is deleted"
KEY = "scenes/desk/part"


def root_of(request, scheme):
    name = uuid.uuid4().hex
    if scheme == "s3":
        return f"s3://{request.getfixturevalue('moto_bucket')}/{name}"
    return f"memory://{name}" if scheme == "memory" else str(request.getfixturevalue("tmp_path") / name)


@pytest.mark.outside(kind=KIND, case="a store whose name looks like a pattern", right="the neighbour's objects stay")
@pytest.mark.parametrize("scheme", ["s3", "memory", "local"])
@pytest.mark.parametrize(
    ("mine", "other"), [("q[1]", "q1"), ("run*", "run-of-a-colleague"), ("d?sk", "desk"), ("{a,b}", "a"), ("**", "x")]
)
def test_a_neighbour_whose_name_a_pattern_matches_is_kept(request, scheme, mine, other):
    # A URL of S3 or of memory has no ?.
    mine = mine if scheme == "local" else mine.replace("?", "[ee]")
    root = root_of(request, scheme)
    theirs, own = (open_store(f"{root}/{name}", create=True) for name in (other, mine))
    for store in (theirs, own):
        store.write_bytes(KEY, b"1")
        store.write_bytes("scenes/desk/more/part", b"1")
    own.delete_prefix("scenes/desk")
    assert (theirs.exists(KEY), own.list("scenes")) == (True, [])
    assert len(theirs.list("scenes/desk")) == 2


@pytest.mark.outside(kind=KIND, case="an object whose name looks like a pattern", right="that object alone goes")
@pytest.mark.parametrize("scheme", ["s3", "memory", "local"])
@pytest.mark.parametrize("delete", ["delete_prefix", "withdraw", "remove_product", "gc"])
def test_a_key_is_deleted_and_nothing_that_it_matches(request, scheme, delete):
    store = open_store(root_of(request, scheme), create=True)
    keys = [f"scenes/{name}/zarr.json" for name in ("s*", "s1", "s[12]", "s**")]
    for key in keys:
        store.write_bytes(key, b"1")
    {
        "delete_prefix": lambda: store.delete_prefix("scenes/s*"),
        "withdraw": lambda: withdraw(store, "scenes/s*"),
        "remove_product": lambda: remove_product(store, "scenes/s*"),
        "gc": lambda: collect(store, Garbage("partial", keys[0], 1, 1)),
    }[delete]()
    assert store.list("scenes") == sorted(keys[1:])


@pytest.fixture
def victim(tmp_path):
    folder = tmp_path / "victim"
    (folder / "sub").mkdir(parents=True)
    for name in ("thesis.partial", "sub/zarr.json", "recipe.json"):
        (folder / name).write_text("precious")
        os.utime(folder / name, (1, 1))
    return folder


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.outside(
    kind=KIND, case="a link below a store's root that leads out", right="refused: nothing behind it changes or is shown"
)
@pytest.mark.parametrize("place", ["scenes/evil", "runs/evil", "evil"])
@pytest.mark.parametrize("what", ["gc", "gc --unreferenced", "fsck", "status", "tables", "run"])
def test_no_command_follows_a_link_that_leads_out(store, victim, place, what):
    before = content(victim)
    (store / place).symlink_to(victim)
    arguments = what.split() + (["--force", "--older-than", "0"] if "gc" in what else [])
    if what == "run":
        target = next(store.glob("runs/*/scores"))
        shutil.rmtree(target)
        target.symlink_to(victim)
        arguments = ["run", "--recipe", target.with_name("recipe.json"), "--store"]
    if what in ("status", "tables") and place != "runs/evil":
        assert command(*arguments, store)[0] == 0
    else:
        assert is_refused(command(*arguments, store), "leads out of the store")
    assert content(victim) == before


@pytest.mark.parametrize("is_dangling", [False, True])
def test_reading_writing_listing_and_deleting_refuse_links_that_lead_out(store, victim, is_dangling):
    before = content(victim)
    opened = open_store(str(store))
    (store / "scenes/evil").symlink_to(victim / "never" if is_dangling else victim)
    (store / "scenes/file").symlink_to(victim / "recipe.json")
    for key in ("scenes/evil/sub", "scenes/evil/thesis.partial", "scenes/evil", "scenes/file"):
        for use in (opened.read_bytes, opened.list, opened.names, opened.delete_prefix, opened.exists):
            with pytest.raises(StoreRefusedError, match="link"):
                use(key)
        for write in (opened.write_bytes, opened.create_bytes):
            with pytest.raises(StoreRefusedError, match="link"):
                write(key, b"x")
    assert content(victim) == before


def test_links_of_ones_own_stay_open(store, tmp_path):
    """The root may be a link, and so may what stays inside it."""
    (tmp_path / "mine").symlink_to(store)
    scene = next((store / "scenes").iterdir())
    (store / "scenes/again").symlink_to(scene.name)
    opened = open_store(str(tmp_path / "mine"))
    assert len(opened.list("scenes/again")) == len(opened.list(f"scenes/{scene.name}"))
    assert command("fsck", tmp_path / "mine")[0] == 0


@pytest.mark.parametrize("key", ["lift3d.json", "runs/x/recipe.json"])
def test_a_pipe_is_no_object_and_is_not_waited_for(store, key):
    (store / key).parent.mkdir(exist_ok=True)
    (store / key).unlink(missing_ok=True)
    os.mkfifo(store / key)
    code, said = command("status", store)
    assert (code, "no lift3d store" in said) == ((1, True) if key == "lift3d.json" else (0, False)), said
