"""The family of coloured things: what it shows, and what it withholds from training."""

import colorsys

import pytest

from lift3d.domain.scene import Scene
from lift3d.synthetic import objects
from lift3d.synthetic.families import build_world
from lift3d.synthetic.objects import OBJECT_LABELS, WITHHELD_PAIRS
from lift3d.synthetic.reader import ProceduralReader
from lift3d.synthetic.world import Pattern, Surface


def _scene(seed: int, views: int = 3) -> Scene:
    return ProceduralReader().read(f"procedural:objects?seed={seed}&views={views}&height=60&width=80&spacing=10")


def _things(seed: int) -> dict[int, tuple[str, Surface]]:
    """Name and surface of each thing, by instance."""
    names = list(OBJECT_LABELS)
    surfaces = {one.instance: (names[one.label], one) for one in build_world("objects", seed).surfaces}
    return {instance: entry for instance, entry in surfaces.items() if entry[0] not in objects.SURROUNDINGS}


def test_withheld_pairs_stand_in_worlds_for_evaluation_alone() -> None:
    withheld = {f"{color} {shape}" for color, shape in WITHHELD_PAIRS}
    for seed in (*range(0, 9000, 90), 8999):
        assert not withheld & {name for name, _ in _things(seed).values()}
    for seed in objects.EVALUATION_SEEDS:
        assert len(withheld & {name for name, _ in _things(seed).values()}) >= 3


def test_a_world_has_eight_to_fourteen_things_and_every_word_occurs() -> None:
    words: set[str] = set()
    patterns: set[Pattern] = set()
    for seed in range(60):
        things = _things(seed).values()
        assert 8 <= len(things) <= 14
        assert len({name for name, _ in things}) == len(things)
        words |= {word for name, _ in things for word in name.split()}
        patterns |= {one.paint.pattern for _, one in things}
    assert words == {*objects.COLORS, *objects.SHAPES}
    names = {f"{color} {shape}" for color in objects.COLORS for shape in objects.SHAPES}
    assert set(_scene(0).label_names.values()) == names | {"floor", "wall", "ceiling", "table"}
    assert patterns == {Pattern.PLAIN, Pattern.STRIPES, Pattern.CHECKS, Pattern.BRICKS}


def test_things_do_not_stand_in_one_another() -> None:
    for seed in (*range(20), *objects.EVALUATION_SEEDS):
        solids = [one for one in build_world("objects", seed).solids if one.surfaces[0].label >= 4]
        for number, one in enumerate(solids):
            for other in solids[:number]:
                apart = sum((a - b) ** 2 for a, b in zip(one.center[:2], other.center[:2], strict=True)) ** 0.5
                reach = sum(max(solid.half_size[:2]) for solid in (one, other))
                assert apart > 0.95 * reach, (seed, one.center, other.center)


@pytest.mark.parametrize("seed", [3, 9000])
def test_things_are_clearly_of_their_colour(seed: int) -> None:
    """The hue of what a view shows is nearest to the named one; surfaces around are less vivid than any thing."""
    hues = {"red": 0.0, "green": 1 / 3, "blue": 0.61, "yellow": 1 / 6, "purple": 0.79, "orange": 0.07}
    scene = _scene(seed)
    for view in scene.views:
        frame = view.load()
        for label in frame.labels.unique().tolist():
            name = scene.label_names[label]
            inside = frame.labels == label
            if inside.sum() < 25:
                continue
            hue, saturation, _ = colorsys.rgb_to_hsv(*frame.image[:, inside].median(1).values.tolist())
            color = name.split()[0]
            if color in hues:
                assert saturation > 0.6, name
                distance = {word: abs((hue - own + 0.5) % 1 - 0.5) for word, own in hues.items()}
                assert min(distance, key=distance.__getitem__) == color
            else:
                assert saturation < 0.55, name


def test_most_things_are_seen_and_larger_than_a_few_cells() -> None:
    scene = ProceduralReader().read("procedural:objects?seed=9001&views=4&spacing=10")
    for view in scene.views:
        frame = view.load()
        counts = frame.instances.reshape(-1).bincount()
        seen = [int(counts[instance]) for instance in _things(9001) if instance < len(counts)]
        assert sum(count > 100 for count in seen) >= 5
