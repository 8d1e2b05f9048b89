"""Folders of depth maps that other systems wrote: a file per view, by its name or by the number in it."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from lift3d.domain.keys import ViewId, shown
from lift3d.errors import SceneFormatError
from lift3d.scenes.scene_folder import require_inside

MAP_SUFFIXES = (".npy", ".npz", ".png", ".tif", ".tiff", ".pgm")
# A view has one file or two.
_MOST_FILES = 200_000
_DEPTH_WORD = re.compile(r"(?i)[-_. ]*(?:z[-_]?)?depths?(?:[-_ ]?maps?)?[-_. ]*")
_NUMBER = re.compile(r"\d+(?=\D*$)")


def map_files(folder: Path) -> list[Path]:
    """Return the maps in a folder and those below it, sorted; hidden ones are left out."""
    found: list[Path] = []
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.suffix.lower() in MAP_SUFFIXES and path.name[0] != "." and path.is_file():
            found.append(path)
        if len(found) > _MOST_FILES:
            raise SceneFormatError(f"'{folder}' holds more than {_MOST_FILES} maps. Name the folder of this scene.")
    return sorted(found)


def maps_by_view(folder: Path, views: Sequence[ViewId]) -> dict[ViewId, Path]:
    """Return the map of each view that has one.

    A file is called as its view, but for its suffix and the word depth; else it has the view's number, where no other
    has. SceneFormatError if no view has any, or a link leads out of the folder.
    """
    files = {str(PurePosixPath(path.relative_to(folder)).with_suffix("")): path for path in map_files(folder)}
    for key in (_as_it_is, _without_depth, _name_alone, _number_alone):
        found = _joined(files, views, key)
        if found:
            for path in found.values():
                require_inside(path, folder)
            return found
    other = next(iter(sorted(one.name for one in folder.iterdir() if one.is_file())), "none") if not files else ""
    example = f"'{shown(next(iter(files)))}'" if files else f"no {', '.join(MAP_SUFFIXES)}, but '{shown(other)}'"
    raise SceneFormatError(
        f"'{folder.name}' has no depth map of any of the {len(views)} views, such as '{views[0]}'; it has {example}. "
        "Name the files after their views."
    )


def _joined(files: dict[str, Path], views: Sequence[ViewId], key: Callable[[str], str]) -> dict[ViewId, Path]:
    of_files, of_views = Counter(map(key, files)), Counter(map(key, views))
    by_key = {key(name): path for name, path in files.items() if of_files[key(name)] == 1}
    return {view: by_key[key(view)] for view in views if key(view) in by_key and key(view) and of_views[key(view)] == 1}


def _as_it_is(name: str) -> str:
    return name


def _without_depth(name: str) -> str:
    *folders, own = PurePosixPath(name).parts
    return str(PurePosixPath(*(one for one in folders if _DEPTH_WORD.sub("", one)), _DEPTH_WORD.sub("", own)))


def _name_alone(name: str) -> str:
    return _DEPTH_WORD.sub("", PurePosixPath(name).name)


def _number_alone(name: str) -> str:
    match = _NUMBER.search(PurePosixPath(name).name)
    return str(int(match.group())) if match else ""
