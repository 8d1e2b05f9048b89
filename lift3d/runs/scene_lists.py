"""Lists of scenes: a recipe may name files of locations instead of the locations themselves."""

from pathlib import Path, PurePosixPath

from lift3d.config import Recipe, parse_recipe
from lift3d.errors import ConfigError, ProductMissingError, SceneFormatError, brief
from lift3d.storage.location import Store

# Written by a run for itself: its locations are as the recipe has them, whatever they are relative to.
EXACT_LIST = "scenes.exact.jsonl"
SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")


def expand_scenes(scenes: object) -> tuple[str, ...]:
    """Return the locations of scenes, with every list of scenes replaced by what it holds.

    A list is a .txt (a location per line), .csv or .parquet (column ``location``) or .jsonl file, local or of a store's
    scheme (s3://…). Relative locations in a local list are relative to it; others name absolute ones. ConfigError if
    these are no location and no list of them, or a list does not exist, is empty or malformed.
    """
    several = scenes if isinstance(scenes, list | tuple) else [scenes]
    given = [one for one in several if isinstance(one, str)]
    if len(given) < len(several):
        raise ConfigError(f"Invalid recipe: scenes should be a list of locations, got {brief(scenes)}.")
    return tuple(location for one in given for location in (_read(one) if is_list(one) else (one,)))


def with_listed_scenes(recipe: Recipe) -> Recipe:
    """Return a recipe with every list of scenes that it names replaced by what the list holds."""
    if not any(is_list(location) for location in recipe.scenes):
        return recipe
    return parse_recipe({**recipe.model_dump(), "scenes": expand_scenes(recipe.scenes)})


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
    listed = read_scene_list(content, location)
    return listed if name == EXACT_LIST else tuple(_resolved(one, folder, location) for one in listed)


def _resolved(location: str, folder: str, where: str) -> str:
    if ":" in location or PurePosixPath(location).is_absolute():
        return location
    if "://" in folder:
        raise ConfigError(
            f"The list of scenes '{where}' names '{location}', which is relative, and scenes are read from disks. Name "
            "scenes in it by absolute paths that every machine sees."
        )
    return str(Path(folder or ".").absolute() / location)
