import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ContractError
from lift3d.operators.catalog import build_operator
from lift3d.operators.region_codebook import fit_codebook, nearest_entry

RED, BLUE, GREEN = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9), (0.1, 0.8, 0.1)


def halves(left: tuple[float, ...], right: tuple[float, ...], size: int = 48) -> torch.Tensor:
    image = torch.empty(3, size, size)
    image[:, :, : size // 2] = torch.tensor(left)[:, None, None]
    image[:, :, size // 2 :] = torch.tensor(right)[:, None, None]
    return image


def test_rgb_decodes_to_the_image_and_reads_a_coarser_grid_at_the_pixels() -> None:
    operator, image = build_operator("rgb"), torch.rand(3, 5, 7)
    prediction = operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(5, 7))
    assert torch.equal(prediction.values, image)
    ramp = (torch.arange(4.0) + 0.5) * 2 / 8
    features = FeatureMap(ramp.expand(3, 2, 4).contiguous(), FeatureGrid(2, 4, 2.0, 2.0))
    prediction = operator.decode((features,), EMPTY_STATE, ImageSize(4, 8))
    # A linear ramp is read exactly between the outermost cell centres.
    expected = (torch.arange(8.0) + 0.5) / 8
    torch.testing.assert_close(prediction.values[0, 0, 1:-1], expected[1:-1])


def test_boundaries_lie_on_the_edge_and_nowhere_else() -> None:
    operator, image = build_operator("felzenszwalb"), halves(RED, BLUE)
    prediction = operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(48, 48))
    assert prediction.values[:, 23:25].min() == 1
    assert prediction.values[:, :20].max() == 0
    assert prediction.values[:, 28:].max() == 0


def test_ids_agree_between_views_whatever_the_order_of_regions_and_need_their_state() -> None:
    operator, size = build_operator("felzenszwalb?as=ids&count=4"), ImageSize(48, 48)
    maps = {"a": operator.encode(halves(RED, BLUE)), "b": operator.encode(halves(BLUE, GREEN))}
    state = operator.fit_scene(maps, SceneViews.of({}))
    one = operator.decode(maps["a"], state, size).values
    other = operator.decode(maps["b"], state, size).values
    assert one[0, 40] == other[0, 5]
    assert len({int(one[0, 5]), int(one[0, 40]), int(other[0, 40])}) == 3
    with pytest.raises(ContractError, match="state of fit_scene"):
        operator.decode(maps["a"], EMPTY_STATE, size)


def test_a_codebook_finds_clusters_orders_them_by_size_and_has_no_more_entries_than_points() -> None:
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    points = (centers[:, None] + 0.1 * torch.randn(3, 20, 2, generator=generator)).reshape(-1, 2)
    sizes = torch.tensor([1, 9, 3]).repeat_interleave(20)
    entries = fit_codebook(points, sizes, 3)
    torch.testing.assert_close(entries, centers[[1, 2, 0]], atol=0.15, rtol=0)
    assert torch.equal(nearest_entry(centers, entries), torch.tensor([2, 0, 1]))
    assert len(fit_codebook(torch.tensor([[0.0], [1.0]]), torch.tensor([1, 1]), 16)) == 2
