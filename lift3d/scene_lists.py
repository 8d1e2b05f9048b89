"""Lists of scenes: a recipe may name files of locations instead of the locations themselves."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lift3d.errors import ConfigError, ProductMissingError, SceneFormatError
from lift3d.storage.location import Store

SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")


def expand_scenes(scenes: str | Sequence[str]) -> tuple[str, ...]:
    """Return the locations of scenes, with every list of scenes replaced by what it holds.

    A list is a .txt (a location per line), .csv or .parquet (column ``location``) or .jsonl file, local or of a
    store's scheme (s3://…). Relative locations in a list are relative to it.

    Args:
        scenes: Locations and lists; one of them may stand alone.

    Raises:
        ConfigError: If a list does not exist, is empty or malformed.
    """
    given = (scenes,) if isinstance(scenes, str) else tuple(scenes)
    return tuple(location for one in given for location in (_read(one) if is_list(one) else (one,)))


def is_list(location: str) -> bool:
    """Whether a location is that of a list of scenes."""
    return location.lower().endswith(SUFFIXES) and not location.startswith("procedural:")


def _read(location: str) -> tuple[str, ...]:
    from lift3d.tables.scene_list import read_scene_list

    folder, name = location.rpartition("/")[::2]
    try:
        content = Store(folder or ".").read_bytes(name)
    except (ProductMissingError, SceneFormatError) as error:
        raise ConfigError(f"The list of scenes '{location}' does not exist. Check the path.") from error
    return tuple(_resolved(one, folder) for one in read_scene_list(content, location))


def _resolved(location: str, folder: str) -> str:
    is_relative = ":" not in location and not PurePosixPath(location).is_absolute()
    if not is_relative or "://" in folder:
        return location
    return str(Path(folder or ".").absolute() / location)
