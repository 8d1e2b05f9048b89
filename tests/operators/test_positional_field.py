"""The positional field as a state: what it is the mean of, how it is asked for, and when there is none."""

import pytest
import torch

from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import SceneError
from lift3d.operators.catalog import build_operator
from lift3d.operators.positional_field import field_of, fit_field, without_field
from lift3d.pipeline.digests import state_digest

GRID = FeatureGrid(3, 4, 14.0, 14.5, origin_u=-3.0, origin_v=0.25)
VIT = "timm:test_vit?weights=random"


def map_of(seed: int, grid: FeatureGrid = GRID, channels: int = 5) -> FeatureMap:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(channels, grid.rows, grid.cols, generator=generator)
    return FeatureMap(values, grid, torch.randn(2, channels, generator=generator))


def test_the_field_is_the_mean_over_views_of_every_cut_on_its_own_grid():
    fine = FeatureGrid(6, 8, 7.0, 7.0)
    maps = {name: (map_of(seed), map_of(seed + 9, fine, 2)) for seed, name in enumerate("abc")}
    before = [one.values.clone() for one in maps["a"]]
    state = fit_field(maps)
    for cut, grid in enumerate((GRID, fine)):
        field = field_of(state, cut)
        assert field.grid == grid
        assert field.values.dtype == torch.float32
        torch.testing.assert_close(field.values, torch.stack([maps[name][cut].values for name in "abc"]).mean(0))
    assert field_of(state, 2) is None
    assert all(torch.equal(one.values, kept) for one, kept in zip(maps["a"], before, strict=True))


def test_views_on_different_grids_have_no_field_and_the_error_says_what_to_do():
    other = FeatureGrid(3, 5, 14.0, 14.5)
    with pytest.raises(SceneError, match=r"view 'b' lie on 3×5 cells.*field on 3×4 cells.*one size.*leave 'positional"):
        fit_field({"a": (map_of(0),), "b": (map_of(1, other),)})
    field = field_of(fit_field({"a": (map_of(0),)}), 0)
    with pytest.raises(SceneError, match="one grid"):
        without_field(map_of(1, other), field)
    with pytest.raises(SceneError, match="no view"):
        fit_field({})


@pytest.mark.parametrize("name", [VIT, "open_clip:ViT-S-32?weights=random"])
def test_networks_fit_a_field_only_where_the_name_says_so(name):
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    plain, less = build_operator(name), build_operator(f"{name}&positional_field=subtract")
    maps = {"a": plain.encode(image), "b": plain.encode(image.flip(2))}
    for keeping in (plain, build_operator(f"{name}&positional_field=keep")):
        assert keeping.fit_scene(maps, SceneViews.of({})) is EMPTY_STATE
    state = less.fit_scene(maps, SceneViews.of({}))
    torch.testing.assert_close(field_of(state, 0).values, (maps["a"][0].values + maps["b"][0].values) / 2)
    assert torch.equal(less.encode(image)[0].values, maps["a"][0].values)
    assert plain.spec.identity != less.spec.identity
    assert state_digest(state) not in ("", state_digest(less.fit_scene({"a": maps["a"]}, SceneViews.of({}))))
