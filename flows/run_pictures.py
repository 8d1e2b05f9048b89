"""Pictures of a run for the Prefect UI, whose Markdown shows those that are part of the page itself."""

from itertools import groupby

from lift3d.errors import Lift3dError
from lift3d.report.strip import Strip, strip_of
from lift3d.results.evidence.same_spots import same_spots
from lift3d.results.evidence.sightings import sightings_of
from lift3d.results.opened import lifted_scenes
from lift3d.storage.location import Store
from lift3d.tables.rendering import escaped

# Of the first scene that was lifted; each is four views, some 20 kB.
_OPERATORS = 2


def pictures_page(store: Store, run_id: str) -> str:
    """Return rows of pictures in Markdown: photograph, plain 2D answer, lifted answers; empty if none can be drawn."""
    try:
        found = lifted_scenes(store, run_id)
        own = [one for one in found if one.name == found[0].name]
        operators = [list(some) for _, some in groupby(own, key=lambda one: one.operator)][:_OPERATORS]
        parts, spots = [], None
        for lifters in operators:
            spots = spots or same_spots(lifters[-1], sightings_of(lifters[-1]))
            named = {one.lifter: one for one in lifters}
            colours = {lifters[-1].operator: lifters[-1].colours}
            parts.append(
                f"**{escaped(lifters[0].title.rpartition(' · ')[0])}**\n\n{_rows(strip_of(named, colours, spots))}"
            )
    except Lift3dError:
        # What is damaged is told where its figures are missing.
        return ""
    return "\n\n".join(parts)


def _rows(strip: Strip) -> str:
    """Return views as columns, and what is shown of them as rows."""
    names = list(dict.fromkeys(one.name for _, pictures in strip.views for one in pictures))
    shown = [{one.name: one.small.url for one in pictures} for _, pictures in strip.views]
    lines = [["", *(escaped(view) for view, _ in strip.views)], ["--"] * (1 + len(strip.views))]
    lines += [[escaped(name), *(f"![]({one[name]})" if name in one else "" for one in shown)] for name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
