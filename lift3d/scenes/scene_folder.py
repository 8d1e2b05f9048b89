"""The files of a scene. Names inside scene files are untrusted: what they name must lie in the folder."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path, PurePosixPath

from lift3d.domain.keys import shown
from lift3d.errors import ImageError, SceneFormatError, brief
from lift3d.scenes.images import SUFFIXES

# What POSIX file systems take at most for one name, and for a path, bytes.
_LONGEST_NAME, _LONGEST_PATH = 255, 4096


# A stranger's capture may link to any file of the machine; somebody's own links save a copy.
FOLLOW_LINKS = "LIFT3D_FOLLOW_LINKS"


def follows_links() -> bool:
    """Whether the user says that links which lead out of a scene's folder are his own."""
    return os.environ.get(FOLLOW_LINKS, "") not in ("", "0")


class SceneFolder:
    """A folder that names are looked up in: as they are, in the other Unicode form, without suffix, in other case."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real_root = root.resolve()
        # By folder, on first use: NFC name → path, and these names by what is left of them without case.
        self._listings: dict[Path, dict[str, Path]] = {}
        self._caseless: dict[Path, dict[str, list[str]]] = {}
        # What was found, and under which name where that differs by more than Unicode or a suffix.
        self._found: set[str] = set()
        self._respelt: dict[str, str] = {}

    def image(self, name: object) -> Path:
        """Return the absolute path of an image named in a scene file, as ``find``; ImageError if there is none."""
        path = self.find(name)
        if path is None:
            raise ImageError(f"Image file '{name}' is missing.")
        return path

    def find(self, name: object) -> Path | None:
        """Return the absolute path of a file named in a scene file; None if there is none.

        The name is as written there: relative, slashes either way, with or without an image suffix. SceneFormatError
        if it is no relative path, or leads out of the folder, by a link too.
        """
        if isinstance(name, str) and len(name) > _LONGEST_PATH:
            raise SceneFormatError(f"'{name[:40]}…' is longer than a path can be, {_LONGEST_PATH} characters.")
        if not isinstance(name, str) or not name or shown(name) != name:
            raise SceneFormatError(f"A file name is {brief(name)}; expected a relative path inside the scene's folder.")
        # Windows tools write backslashes; a drive letter then shows as the first part.
        relative = PurePosixPath(name.replace("\\", "/"))
        if not relative.parts or relative.is_absolute() or ".." in relative.parts or ":" in relative.parts[0]:
            raise SceneFormatError(f"'{name}' leads out of the scene's folder; expected a relative path inside it.")
        if max(len(part.encode()) for part in relative.parts) > _LONGEST_NAME:
            raise SceneFormatError(f"'{name:.40}…' is longer than a file's name can be, {_LONGEST_NAME} bytes.")
        try:
            found = self._look_up(relative)
            is_inside = found is None or follows_links() or found.resolve().is_relative_to(self._real_root)
        except (OSError, RuntimeError) as error:
            raise SceneFormatError(f"'{name:.40}…' cannot be looked up: {error.args[-1]}.") from error
        if found is None:
            return None
        if not is_inside:
            raise SceneFormatError(
                f"'{name}' is a link that leads out of the scene's folder. Copy the file there; or set "
                f"{FOLLOW_LINKS}=1 if the links are your own."
            )
        self._found.add(str(found))
        return found

    def has(self, name: object) -> bool:
        """Whether ``find`` finds a file."""
        try:
            return self.find(name) is not None
        except SceneFormatError:
            return False

    def images(self, *folders: str) -> list[Path]:
        """Return the image files directly in the first folder that has any, sorted by name.

        Hidden files are left out: file managers keep previews and attributes there, under the names of images.
        """
        listings = (sorted(self._listing(self.root / folder).items()) for folder in folders)
        found = ([path for _, path in one if path.suffix.lower() in SUFFIXES] for one in listings)
        return next(filter(None, found), [])

    def notes(self) -> list[str]:
        """Return what there is to say of the names that were looked up, a sentence each."""
        sentences = []
        if self._respelt:
            name, found = next(iter(self._respelt.items()))
            sentences.append(
                f"{len(self._respelt)} files were found under names in other case, such as '{found}' for '{name}'."
            )
        folders = sorted({os.path.dirname(path) for path in self._found if path.lower().endswith(SUFFIXES)})
        left = [path for folder in folders for path in _images_in(folder) if path not in self._found]
        if left:
            name = shown(os.path.basename(left[0]))
            sentences.append(
                f"{len(left)} further image files lie beside those that are named, such as '{name}'; no view has them."
            )
        return sentences

    def _look_up(self, relative: PurePosixPath) -> Path | None:
        path = self.root / relative
        if path.is_file():
            return path
        listing = self._listing(path.parent)
        wanted = unicodedata.normalize("NFC", relative.name)
        for name in (wanted, *(wanted + suffix for suffix in SUFFIXES), *(wanted + s.upper() for s in SUFFIXES)):
            if name in listing:
                return listing[name]
        # Other systems do not tell case; where only one file can be meant, it is.
        alike = self._caseless[path.parent].get(wanted.casefold(), [])
        if len(alike) != 1:
            return None
        self._respelt[str(relative)] = alike[0]
        return listing[alike[0]]

    def _listing(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listings:
            entries = (path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else iter(())
            files = {unicodedata.normalize("NFC", path.name): path for path in entries if path.is_file()}
            self._listings[folder] = files
            self._caseless[folder] = {}
            for name in files:
                self._caseless[folder].setdefault(name.casefold(), []).append(name)
        return self._listings[folder]


def _images_in(folder: str) -> list[str]:
    """Return the paths of the image files directly in a folder, sorted; hidden files are left out."""
    with os.scandir(folder) as entries:
        names = (one.name for one in entries if one.name.lower().endswith(SUFFIXES) and one.is_file())
        return [os.path.join(folder, name) for name in sorted(names) if name[0] != "."]


def require_inside(path: Path, root: Path) -> None:
    """Refuse, by SceneFormatError, a file or folder of a scene that is a link to somewhere else."""
    if not follows_links() and not path.resolve().is_relative_to(root.resolve()):
        raise SceneFormatError(
            f"'{path}' is a link that leads out of the scene's folder '{root}'. Copy the files there, or give the "
            f"folder that holds them; or set {FOLLOW_LINKS}=1 if the links are your own."
        )


def scene_id_of(folder: Path) -> str:
    """Return the scene's id: the folder's name in NFC."""
    return shown(unicodedata.normalize("NFC", Path(os.path.abspath(folder)).name)) or "scene"


def view_ids(names: Iterable[str]) -> list[str]:
    """Return an id per file name, without the folders that all share, and without suffix where unique.

    The ids are in NFC with forward slashes, so that they are the same on every file system.
    """
    cut = (unicodedata.normalize("NFC", name[:_LONGEST_PATH]) for name in names)
    parts = [PurePosixPath(shown(name.replace("\\", "/"))).parts for name in cut]
    levels = zip(*(one[:-1] for one in parts), strict=False)
    shared = len([*takewhile(lambda level: len(set(level)) == 1, levels)])
    full = [str(PurePosixPath(*one[shared:])) for one in parts]
    short = [_without_suffix(PurePosixPath(whole)) for whole in full]
    spellings = Counter(brief for brief, _ in set(zip(short, full, strict=True)))
    return [brief if spellings[brief] == 1 else whole for whole, brief in zip(full, short, strict=True)]


def _without_suffix(path: PurePosixPath) -> str:
    return str(path.with_suffix("") if path.suffix.lower() in SUFFIXES else path)
