"""Agisoft Metashape's cameras as XML (File, Export, Export Cameras) beside the photographs.

Transforms are c2w with OpenCV axes, in the coordinates of their component; a component's own similarity takes these to
the reference system. The scene's world has the axes and the origin of the largest component and the unit of the
reference system: its own origin may be the centre of the earth, where floats end.
"""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene
from lift3d.errors import CameraError, SceneFormatError, brief
from lift3d.geometry.rigid import inverse
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.file_limits import read_text
from lift3d.scenes.metashape_lens import lenses_of, xml_numbers
from lift3d.scenes.rotations import rigid
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of, view_ids

_USUAL, _SUFFIX = "cameras.xml", ".xml"
_IMAGE_FOLDERS = ("images", "photos", "rgb", "input", "")
# A camera takes about 600 bytes: 25 000 of them. Parsed, they take twenty times that.
_MOST_BYTES, _MOST_FILES, _HEAD_BYTES = 16 * 2**20, 20, 2048
_OFF = ("0", "false")


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """Where a component lies in the reference system: its scale, and what is rigid."""

    scale: float
    rigid: Float[Tensor, "4 4"]


class MetashapeReader:
    """Reads a folder with the XML and its photographs, or the XML."""

    def recognizes(self, location: str) -> bool:
        """Whether there is an XML that begins as Metashape's."""
        return _file(Path(location)) is not None

    def read(self, location: str) -> Scene:
        """Read cameras."""
        path = _file(Path(location))
        if path is None:
            raise SceneFormatError(f"'{location}' holds no XML of Metashape's cameras.")
        chunk = _chunk(path)
        folder = SceneFolder(path.parent)
        draft = SceneDraft(scene_id_of(folder.root), location)
        cameras = list(chunk.iterfind("cameras//camera"))
        labels = [camera.get("label", "") for camera in cameras]
        find, place, lens_of = _finder(folder), _placing(path, chunk, cameras, draft), lenses_of(chunk)
        photographs = []
        for view_id, label, camera in zip(view_ids(labels), labels, cameras, strict=True):
            with draft.dropping(view_id):
                photographs.append((view_id, find(label), camera))
        seen = Counter(image for _, image, _ in photographs)
        for view_id, image, camera in photographs:
            with draft.dropping(view_id):
                if camera.get("enabled", "1").lower() in _OFF:
                    draft.drop(view_id, "flagged", "Metashape has this camera disabled.")
                    continue
                if seen[image] > 1:
                    draft.drop(view_id, "duplicate", f"Several cameras are called as '{image.name}': whose is it?")
                    continue
                c2w, was_repaired = place(camera)
                lens = lens_of(camera.get("sensor_id", ""))
                draft.note(*filter(None, [lens.note]))
                source = FileFrame(str(image), distortion=lens.distortion)
                draft.add(view_id, Camera(lens.K, inverse(c2w), lens.size), source, was_repaired=was_repaired)
        draft.note(*folder.notes())
        return draft.finish()


def _file(path: Path) -> Path | None:
    """Return the XML of Metashape that is meant, or lies in a folder."""
    if path.is_file():
        return path if path.suffix.lower() == _SUFFIX and _is_metashape(path) else None
    found = sorted(path.glob(f"*{_SUFFIX}"), key=lambda one: (one.name != _USUAL, one.name))
    return next(filter(_is_metashape, found[:_MOST_FILES]), None)


def _is_metashape(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    return b"<document" in head and b"<chunk" in head


def _chunk(path: Path) -> Element:
    try:
        text = read_text(path, _MOST_BYTES)
        # Entities unfold to more than the file, and may name other files. Metashape writes none.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("it declares a document type, which Metashape never does")
        chunk = ElementTree.fromstring(text).find("chunk")
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise SceneFormatError(f"'{path}' is not readable as XML: {error}. Export the cameras again.") from error
    if chunk is None or chunk.find("cameras") is None:
        raise SceneFormatError(
            f"'{path}' should have a chunk with cameras. In Metashape: File, Export, Export Cameras."
        )
    return chunk


def _finder(folder: SceneFolder) -> Callable[[str], Path]:
    """Return what gives the image of a label, in the folder of images; it raises SceneError if there is none.

    Labels are names of files, with or without suffix; some are whole paths, of which the last part counts.
    """
    images = folder.images(*_IMAGE_FOLDERS)
    below = images[0].parent.relative_to(folder.root) if images else Path(_IMAGE_FOLDERS[0])

    def find(label: str) -> Path:
        last = PurePosixPath(label.replace("\\", "/")).name
        return folder.image(str(below / (last if not folder.has(str(below / label)) and last else label)))

    return find


def _placing(
    path: Path, chunk: Element, cameras: list[Element], draft: SceneDraft
) -> Callable[[Element], tuple[Float[Tensor, "4 4"], bool]]:
    """Return what gives c2w of a camera in the scene's world; it raises CameraError where there is none."""
    try:
        placed = dict(_components(chunk))
    except CameraError as error:
        raise SceneFormatError(f"A component's transform in '{path}' is none: {error}") from error
    counts = Counter(one.get("component_id") for one in cameras if one.find("transform") is not None)
    main = max(counts, key=counts.__getitem__, default=None)
    own = placed.get(main)
    if own is not None:
        draft.canonical_from_source = inverse(own.rigid)
        draft.note("The unit is that of Metashape's reference system; origin and axes are those of its aligned photos.")

    def place(camera: Element) -> tuple[Float[Tensor, "4 4"], bool]:
        if camera.find("transform") is None:
            raise CameraError("Metashape has no pose of this camera: it was not aligned, or is a further one of a rig.")
        c2w, was_repaired = rigid(np.reshape(xml_numbers(camera.findtext("transform"), 16, "transform"), (4, 4)))
        component = camera.get("component_id")
        there = placed.get(component)
        if component != main and (own is None or there is None):
            raise CameraError(f"Its component {brief(component)} is not placed relative to that of most cameras.")
        if own is None or there is None:
            return c2w, was_repaired
        c2w[:3, 3] *= there.scale
        return (c2w if there is own else inverse(own.rigid) @ there.rigid @ c2w), was_repaired

    return place


def _components(chunk: Element) -> Iterator[tuple[str | None, _Placed]]:
    """Yield where components lie; older exports have one transform, of the chunk."""
    every = [(one.get("id"), one.find("transform")) for one in chunk.iterfind("components/component")]
    for key, transform in every or [(None, None)]:
        given = chunk.find("transform") if transform is None else transform
        if given is not None and given.find("scale") is not None:
            rotation = xml_numbers(given.findtext("rotation", "1 0 0 0 1 0 0 0 1"), 9, "rotation")
            offset = xml_numbers(given.findtext("translation", "0 0 0"), 3, "translation")
            scale = xml_numbers(given.findtext("scale"), 1, "scale")[0]
            if scale <= 0:
                raise CameraError(f"'scale' should be positive, got {scale}.")
            matrix = np.concatenate([np.reshape(rotation, (3, 3)), np.reshape(offset, (3, 1))], axis=1)
            yield key, _Placed(scale, rigid(matrix)[0])
