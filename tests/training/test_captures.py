"""Captures as training scenes: the target is never a source, equal for equal seeds, depth where there is any."""

import numpy as np
import pytest
import torch

from lift3d.errors import NoOverlapError, SceneError
from lift3d.lifters.checkpoint import untrained
from lift3d.synthetic.training_scenes import HEIGHTS
from lift3d.training import density_step
from lift3d.training.batches import Examples
from lift3d.training.captures import check_captures, draw_capture_example
from tests.support.captures import capture, write_transforms
from tests.training.tiny_training import same_example, small_cache

# Whole trainings.
pytestmark = pytest.mark.slow

ROOM = "procedural:room?views=6&height=48&width=64"


@pytest.fixture(scope="module")
def garden(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures") / "my-garden"
    write_transforms(folder, capture(6))
    return str(folder)


def test_an_example_of_a_capture_is_one_of_its_views_and_the_nearest_others(garden):
    sizes = set()
    for seed in range(8):
        example, again = (draw_capture_example(np.random.default_rng(seed), garden, 3) for _ in range(2))
        assert same_example(example, again)
        centers = torch.stack([frame.camera.center for frame in example.sources])
        assert (centers - example.target.camera.center).norm(dim=-1).min() > 0
        assert {frame.camera.size for frame in example.sources} == {example.target.camera.size}
        assert len(example.sources) == 3
        sizes.add(example.target.camera.size.height)
    with_depth = draw_capture_example(np.random.default_rng(5), ROOM, 2)
    known = with_depth.target.z_depth[torch.isfinite(with_depth.target.z_depth)]
    assert with_depth.depth_range.near < known.median() < with_depth.depth_range.far
    assert sizes <= set(HEIGHTS)
    assert len(sizes) > 1


def test_without_depth_colours_alone_teach(garden):
    example = draw_capture_example(np.random.default_rng(0), garden, 9)
    assert len(example.sources) == 5
    assert example.target.z_depth is None
    batch = density_step.prepare(example, np.random.default_rng(0))
    network = untrained().density.requires_grad_(True)
    loss, parts = density_step.density_loss(network, batch)
    loss.backward()
    assert set(parts) == {"relative_error"}
    assert all(bool(one.grad.isfinite().all()) for one in network.parameters() if one.grad is not None)


def test_captures_come_in_their_share_beside_computed_scenes(garden, tmp_path):
    examples_of = Examples(small_cache(tmp_path), 0, (2, 3), (garden,), 0.5)
    examples = [examples_of(step) for step in range(24)]
    scenes = [example.scene for example in examples]
    assert 4 < scenes.count("my-garden") < 20
    assert {*scenes} == {"my-garden", "0", "1"}
    assert same_example(examples_of(5), examples[5])


def test_views_that_do_not_decode_are_left_out(tmp_path):
    write_transforms(tmp_path, capture(5))
    image = tmp_path / "images" / "002.png"
    image.write_bytes(image.read_bytes()[:200])
    found = set()
    for seed in range(12):
        try:
            found.add(len(draw_capture_example(np.random.default_rng(seed), str(tmp_path), 4).sources))
        except NoOverlapError:
            found.add(0)
    # Three of four as sources; none at all where the target itself is torn.
    assert found == {3, 0}


def test_a_card_names_a_capture_without_its_folder_and_few_views_are_refused(garden):
    (found,) = check_captures((garden,))
    assert (found.name, found.views) == ("my-garden", 6)
    assert garden not in str(found)
    rooms = [check_captures((f"{ROOM}&seed={seed}",))[0].content for seed in (0, 1)]
    assert rooms[0] != rooms[1]
    with pytest.raises(SceneError, match="at least 3"):
        check_captures(("procedural:room?views=2&height=48&width=64",))
