"""Which readers there are, and which one a location is for. Light: readers are imported when asked."""

import os
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from lift3d.errors import ConfigError, SceneFormatError, UnknownNameError
from lift3d.messages import loading

if TYPE_CHECKING:
    from lift3d.domain.scene import Scene

PROCEDURAL, DISTRACTORS, RAIN, DROPLETS, MOMENT = "procedural", "distractors", "rain", "droplets", "moment"
# Of locations that name no files.
SCHEMES = (PROCEDURAL, DISTRACTORS, RAIN, DROPLETS, MOMENT)

# The order decides when a folder holds several formats: what was written for radiance fields comes first.
READERS: dict[str, str] = {
    PROCEDURAL: "lift3d.synthetic.reader:ProceduralReader",
    DISTRACTORS: "lift3d.scenes.distractors:DistractorReader",
    RAIN: "lift3d.scenes.weather:WeatherReader",
    DROPLETS: "lift3d.scenes.weather:WeatherReader",
    MOMENT: "lift3d.scenes.moments:MomentReader",
    "transforms_json": "lift3d.scenes.transforms_json:TransformsJsonReader",
    "colmap": "lift3d.scenes.colmap:ColmapReader",
    "llff": "lift3d.scenes.llff:LlffReader",
    "scannet": "lift3d.scenes.rgbd:ScanNetReader",
    "seven_scenes": "lift3d.scenes.rgbd:SevenScenesReader",
    "trajectory": "lift3d.scenes.trajectory:TrajectoryReader",
    "idr": "lift3d.scenes.idr:IdrReader",
    "record3d": "lift3d.scenes.record3d:Record3dReader",
    "polycam": "lift3d.scenes.polycam:PolycamReader",
    "arkitscenes": "lift3d.scenes.arkitscenes:ArkitScenesReader",
    "metashape": "lift3d.scenes.metashape:MetashapeReader",
}
LOOKED_FOR = (
    "transforms.json or transforms_{train,val,test}.json, a COLMAP model (cameras, images and points3D as "
    ".bin or .txt, also under sparse/), poses_bounds.npy, ScanNet's color/ pose/ intrinsic/, 7-Scenes' "
    "frame-*.pose.txt, a trajectory (groundtruth.txt, traj.txt, CameraTrajectory.txt) beside images, cameras*.npz, "
    "Record3D's metadata beside rgbd/ or rgb/, Polycam's keyframes/, ARKitScenes' lowres_wide.traj, "
    "Metashape's cameras.xml"
)

# Two letters at least, so that a drive letter is no scheme.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


@runtime_checkable
class SceneReader(Protocol):
    """Reads one format.

    Promises: OpenCV axes and corner-origin pixels whatever the format's own; joins by name, never by position; no
    pixel is decoded; a view that cannot be used is a DroppedView with a reason; nothing is normalised invisibly.
    """

    def recognizes(self, location: str) -> bool:
        """Whether the location looks like this format (cheap: names of files only)."""
        ...

    def read(self, location: str) -> "Scene":
        """Read cameras and references; SceneFormatError if a file is missing or malformed, or no view is usable."""
        ...


def reader(name: str) -> SceneReader:
    """Import and build the reader of a catalog name; UnknownNameError if there is none."""
    if name not in READERS:
        raise UnknownNameError.of("scene reader", name, READERS)
    module_name, attribute = READERS[name].split(":")
    with loading():
        built: SceneReader = getattr(import_module(module_name), attribute)()
    return built


def read_scene(location: str | Path, *, min_views: int = 1) -> "Scene":
    """Read a scene from a folder, a file, ``file://`` of these, ``procedural:FAMILY?options``, or one that is spoiled.

    ConfigError if the location has another scheme or does not exist; SceneFormatError if no reader recognises it, a
    file is malformed, or fewer than ``min_views`` views are usable (figures between views need two).
    """
    location = os.fspath(location)
    scheme = next((name for name in SCHEMES if location.startswith(f"{name}:")), None)
    scene = reader(scheme).read(location) if scheme else _read_files(_local_path(location))
    if len(scene.views) < min_views:
        raise SceneFormatError(
            f"Scene '{scene.id}' has {len(scene.views)} usable views, at least {min_views} are needed; "
            f"{len(scene.dropped)} were dropped. Add views or lower the requirement.",
            scene=scene.id,
        )
    return scene


def _read_files(path: Path) -> "Scene":
    try:
        names = recognizing(str(path))
        if not names:
            raise SceneFormatError(
                f"No reader recognises '{path}'. {_remedy_for(path)}Looked for: {LOOKED_FOR}. {_content_of(path)}",
                scene=path.name,
            )
        scene = reader(names[0]).read(str(path))
    except (OSError, MemoryError) as error:
        # Of a folder that may not be read, or files that unpack to more than there is: the scene's fault alone.
        raise SceneFormatError(
            f"'{path}' cannot be read: {str(error) or 'its files take more memory than there is'}. Check its files "
            "and the rights to them.",
            scene=path.name,
        ) from error
    if len(names) == 1:
        return scene
    return replace(scene, notes=(f"Read as {names[0]}; it also looks like {', '.join(names[1:])}.", *scene.notes))


def recognizing(location: str) -> list[str]:
    """Return the readers that recognize an absolute path; the first of them reads it."""
    return [name for name in READERS if name not in SCHEMES and reader(name).recognizes(location)]


def _local_path(location: str) -> Path:
    """Return the absolute path of a location, or refuse it."""
    if not location or "\0" in location or "::" in location:
        raise ConfigError(
            f"Scene location {location!r} is refused: it is empty, has a NUL or chains file systems ('::'). "
            "Give a local folder or file."
        )
    scheme = _SCHEME.match(location)
    if scheme and scheme.group(1).lower() == "file":
        parts = urlsplit(location)
        if parts.netloc not in ("", "localhost"):
            raise ConfigError(f"Scene location '{location}' is on host '{parts.netloc}'; only local files are read.")
        location, scheme = unquote(parts.path), None
    path = Path(location).expanduser()
    if scheme and ("://" in location or not path.exists()):
        raise ConfigError(
            f"Scene location '{location}' has the scheme '{scheme.group(1)}'; known are local paths, "
            f"'file://' and '{PROCEDURAL}:'. Copy the scene to a local folder first."
        )
    if not path.exists():
        raise ConfigError(f"Scene location '{location}' does not exist ({path.absolute()}). Check the path.")
    # Absolute, since workers run elsewhere; links stay, since a scene is called what the user calls it.
    return Path(os.path.abspath(path))


def _remedy_for(path: Path) -> str:
    """Return what to do with photographs that nobody posed yet; nothing for all else."""
    from lift3d.scenes.images import HEIC_SUFFIXES, SUFFIXES, VIDEO_SUFFIXES

    names = [path.name] if path.is_file() else [entry.name for entry in path.iterdir()]
    if not any(Path(name).suffix.lower() in (*SUFFIXES, *HEIC_SUFFIXES, *VIDEO_SUFFIXES) for name in names):
        return ""
    return f"Photographs or a video? Find their cameras first: lift3d ingest {path} OUT. "


def _content_of(path: Path) -> str:
    if path.is_file():
        is_packed = path.suffix.lower() in (".r3d", ".zip")
        return "It is packed: unzip it, and give the folder." if is_packed else "It is a file, not a folder."
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"The folder holds: {shown}." if names else "The folder is empty."
