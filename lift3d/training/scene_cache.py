"""Rendered training scenes on disk: each is made once from its seed, by this process or by several."""

import json
import multiprocessing
import os
import zipfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from lift3d.errors import ConfigError, StoreLayoutError
from lift3d.synthetic.photographs import PhotographSet, photographs
from lift3d.training.rendering import RENDER_VERSION, RenderedScene, render_scene

_MANIFEST = "cache.json"


@dataclass(frozen=True, slots=True)
class ExampleCache:
    """Scenes 0 … count − 1 of a seed, in a local folder. Equal seeds give equal scenes; more can be added later.

    Attributes:
        folder: Where the files are; made if missing.
        seed: Which endless collection.
        count: How many scenes of it.
        pictures: Sets of photographs that textures are cut from.

    Raises:
        ConfigError: If the folder holds scenes of another seed, version or set of photographs.
    """

    folder: Path
    seed: int
    count: int
    pictures: tuple[PhotographSet, ...] = ("scikit-image",)

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0:
            raise ConfigError(f"A cache needs count ≥ 1 and seed ≥ 0, got count={self.count}, seed={self.seed}.")
        # Fails now, not in the middle of a night, if a set of photographs is not installed.
        photographs(self.pictures)
        wanted = {"render_version": RENDER_VERSION, "seed": self.seed, "pictures": list(self.pictures)}
        path = self.folder / _MANIFEST
        self.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _replace(path, json.dumps(wanted).encode())
        held = _manifest(path)
        if held != wanted:
            raise ConfigError(f"'{self.folder}' holds scenes of {held}; expected {wanted}. Name an empty folder.")

    def path(self, index: int) -> Path:
        """Return where a scene is stored.

        Raises:
            ConfigError: If the cache has no such scene.
        """
        if not 0 <= index < self.count:
            raise ConfigError(f"Scene {index} is not in a cache of {self.count}; expected 0 to {self.count - 1}.")
        return self.folder / f"{index:06d}.npz"

    def scene(self, index: int) -> RenderedScene:
        """Read a scene; it is rendered and stored first if it is missing.

        Raises:
            ConfigError: If the cache has no such scene.
            StoreLayoutError: If its file is damaged.
        """
        path = self.path(index)
        if not path.exists():
            scene = render_scene((self.seed, index), pictures=self.pictures)
            _store(path, scene)
            return scene
        return _load(path)

    def fill(self, worker_count: int = 1) -> int:
        """Render what is missing, in several processes if asked. Returns how many scenes that were."""
        missing = [index for index in range(self.count) if not self.path(index).exists()]
        if worker_count <= 1 or len(missing) <= 1:
            for index in missing:
                self.scene(index)
            return len(missing)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(worker_count, mp_context=context, initializer=_use_one_thread) as pool:
            for _ in pool.map(self._ensure, missing):
                pass
        return len(missing)

    def _ensure(self, index: int) -> None:
        # Returns nothing, so that no pixels travel between processes.
        self.scene(index)


def _use_one_thread() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _manifest(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{path}' does not read as JSON. Delete the folder; its scenes are made again.") from error


def _store(path: Path, scene: RenderedScene) -> None:
    part = _part(path)
    with part.open("wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            family=np.array(scene.family),
            rig=np.array(scene.rig),
            images=scene.images,
            disparity=scene.disparity,
            K=scene.K,
            w2c=scene.w2c,
        )
    part.replace(path)


def _load(path: Path) -> RenderedScene:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            return RenderedScene(
                family=str(held["family"]),
                rig=str(held["rig"]),
                images=held["images"],
                disparity=held["disparity"],
                K=held["K"],
                w2c=held["w2c"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StoreLayoutError(f"Training scene '{path}' is damaged ({error}). Delete it; it is made again.") from error


def _replace(path: Path, content: bytes) -> None:
    part = _part(path)
    part.write_bytes(content)
    part.replace(path)


def _part(path: Path) -> Path:
    """A private name in the same folder: a file appears under its own name complete or not at all."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")
