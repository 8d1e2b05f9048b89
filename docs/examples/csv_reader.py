"""A reader in one file: ``poses.csv``, a line per image: name, fx, fy, cx, cy and the twelve numbers of [R|t] (w2c)."""

import csv
from pathlib import Path

import torch

from lift3d.domain.camera import Camera
from lift3d.errors import SceneFormatError
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.images import image_size
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of


class CsvReader:
    """Axes are OpenCV's and pixels count from the corner already, so nothing is converted."""

    def recognizes(self, location):
        """Whether the file of poses is there: names only, nothing is read."""
        return (Path(location) / "poses.csv").is_file()

    def read(self, location):
        """Return cameras and references to images; a line that cannot be used is a dropped view with its reason."""
        folder, draft = SceneFolder(Path(location)), SceneDraft(scene_id_of(Path(location)), location)
        for name, *numbers in csv.reader((Path(location) / "poses.csv").read_text(encoding="utf-8").splitlines()):
            with draft.dropping(name):
                if len(numbers) != 16:
                    raise SceneFormatError(f"'{name}' has {len(numbers)} numbers, expected 16: fx fy cx cy and [R|t].")
                fx, fy, cx, cy, *pose = map(float, numbers)
                K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
                w2c = torch.cat([torch.tensor(pose, dtype=torch.float64).reshape(3, 4), torch.eye(4)[3:].double()])
                image = str(folder.image(f"images/{name}"))
                draft.add(name, Camera(K, w2c, image_size(image)), FileFrame(image=image))
        return draft.finish()
