"""The files of a scene. Names inside scene files are untrusted: what they name must lie in the folder."""

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lift3d.errors import ImageError, SceneFormatError
from lift3d.scenes.images import SUFFIXES


@dataclass(frozen=True, slots=True)
class SceneFolder:
    """A folder that names are looked up in: as they are, in the other Unicode form, or without suffix."""

    root: Path
    # Listings by folder: NFC name → path. Filled on first use.
    _listings: dict[Path, dict[str, Path]] = field(default_factory=dict, repr=False, compare=False)

    def image(self, name: object) -> Path:
        """Return the absolute path of an image named in a scene file, as ``find``.

        Raises:
            ImageError: If there is no such file.
        """
        path = self.find(name)
        if path is None:
            raise ImageError(f"Image file '{name}' is missing.")
        return path

    def find(self, name: object) -> Path | None:
        """Return the absolute path of a file named in a scene file; None if there is none.

        Args:
            name: As written there: relative, slashes either way, with or without an image suffix.

        Raises:
            SceneFormatError: If the name is no relative path, or leads out of the folder, by a link too.
        """
        if not isinstance(name, str) or not name or "\0" in name:
            raise SceneFormatError(f"A file name is {name!r}; expected a relative path inside the scene's folder.")
        # Windows tools write backslashes; a drive letter then shows as the first part.
        relative = PurePosixPath(name.replace("\\", "/"))
        if relative.is_absolute() or ".." in relative.parts or ":" in relative.parts[0]:
            raise SceneFormatError(f"'{name}' leads out of the scene's folder; expected a relative path inside it.")
        found = self._look_up(relative)
        if found is None:
            return None
        if not found.resolve().is_relative_to(self.root.resolve()):
            raise SceneFormatError(f"'{name}' is a link that leads out of the scene's folder. Copy the file there.")
        return found

    def images(self, folder: str) -> list[Path]:
        """Return the image files directly in a folder, sorted by name; none if there is no such folder."""
        listing = self._listing(self.root / folder)
        return [path for _, path in sorted(listing.items()) if path.suffix.lower() in SUFFIXES]

    def _look_up(self, relative: PurePosixPath) -> Path | None:
        path = self.root / relative
        if path.is_file():
            return path
        listing = self._listing(path.parent)
        wanted = unicodedata.normalize("NFC", relative.name)
        for name in (
            wanted,
            *(wanted + suffix for suffix in SUFFIXES),
            *(wanted + s.upper() for s in SUFFIXES),
        ):
            if name in listing:
                return listing[name]
        return None

    def _listing(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listings:
            entries = folder.iterdir() if folder.is_dir() else iter(())
            files = {unicodedata.normalize("NFC", path.name): path for path in entries if path.is_file()}
            self._listings[folder] = files
        return self._listings[folder]


def scene_id_of(folder: Path) -> str:
    """Return the scene's id: the folder's name in NFC."""
    return unicodedata.normalize("NFC", Path(os.path.abspath(folder)).name) or "scene"


def view_ids(names: Iterable[str]) -> list[str]:
    """Return an id per file name, without the folders that all share, and without suffix where unique.

    The ids are in NFC with forward slashes, so that they are the same on every file system.
    """
    paths = [PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/")) for name in names]
    shared = 0
    if paths:
        folders = [path.parts[:-1] for path in paths]
        while all(len(parts) > shared and parts[shared] == folders[0][shared] for parts in folders):
            shared += 1
    full = [PurePosixPath(*path.parts[shared:]) for path in paths]
    short = [str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else str(path) for path in full]
    spellings: dict[str, set[str]] = {}
    for whole, brief in zip(full, short, strict=True):
        spellings.setdefault(brief, set()).add(str(whole))
    return [brief if len(spellings[brief]) == 1 else str(whole) for whole, brief in zip(full, short, strict=True)]
