"""Rendered training scenes on disk: each is made once from its seed, by this process or by several."""

import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from lift3d.errors import ConfigError, StoreLayoutError
from lift3d.storage.whole_file import whole
from lift3d.synthetic.training_scenes import RENDER_VERSION, RenderedScene, render_scene

_MANIFEST = "cache.json"
_ARRAYS = tuple(field.name for field in fields(RenderedScene))


@dataclass(frozen=True, slots=True)
class SceneCache:
    """Scenes 0 … count − 1 of a seed, in a local folder. Equal seeds give equal scenes; more can be added later."""

    folder: Path
    seed: int
    count: int

    def __post_init__(self) -> None:
        wanted = {"render_version": RENDER_VERSION, "seed": self.seed}
        path = self.folder / _MANIFEST
        if not path.exists():
            with whole(path) as partial:
                partial.write_text(json.dumps(wanted))
        try:
            held = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"'{path}' does not read as JSON. Delete the folder; its scenes are made again."
            ) from error
        if held != wanted:
            raise ConfigError(f"'{self.folder}' holds scenes of {held}; expected {wanted}. Name an empty folder.")

    def scene(self, index: int) -> RenderedScene:
        """Read a scene; it is rendered and stored first if it is missing."""
        path = self.folder / f"{index:06d}.npz"
        if not path.exists():
            scene = render_scene((self.seed, index))
            with whole(path) as partial:
                np.savez(partial, allow_pickle=False, **{name: getattr(scene, name) for name in _ARRAYS})
            return scene
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
                return RenderedScene(**{name: held[name] for name in _ARRAYS})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StoreLayoutError(
                f"Training scene '{path}' is damaged ({error}). Delete it; it is made again."
            ) from error
