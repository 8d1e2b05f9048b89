"""Names of files for views. Ids come from scenes, which are data: they may hold slashes, '..', markup, any script."""

from collections.abc import Iterable

from lift3d.domain.keys import ViewId, slug


def file_names(view_ids: Iterable[ViewId]) -> dict[ViewId, str]:
    """Return a name for each view that is one safe path segment, unique even where case does not count."""
    names: dict[ViewId, str] = {}
    taken: set[str] = set()
    for number, view_id in enumerate(view_ids):
        name = slug(view_id)
        if name.casefold() in taken:
            # No slug ends so: what is cut off or changed ends in a digest.
            name = f"{name}_{number}"
        taken.add(name.casefold())
        names[view_id] = name
    return names
