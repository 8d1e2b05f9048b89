"""Any torch module, cut anywhere: what is found by running it, what is proved, and what is refused."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional

import lift3d
from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.errors import ConfigError, ContractError
from lift3d.operators.catalog import build_operator
from lift3d.operators.split.run import noise
from tests.support.model_zoo import Residual, UNet

SUPPORT = Path(__file__).parents[1] / "support"
SIZE = ImageSize(48, 64)
IMAGE = noise(SIZE)[0]


class OneSize(nn.Module):
    """Patches, each with something of its own: so many rows and columns of them, no more and no fewer."""

    def __init__(self, rows, cols):
        super().__init__()
        self.patch, self.position = nn.Conv2d(3, 5, 8, 8), nn.Parameter(torch.randn(5, rows, cols))

    def forward(self, pixels):
        return functional.interpolate(self.patch(pixels) + self.position, scale_factor=8, mode="bilinear")


class Pair(NamedTuple):
    coarse: torch.Tensor
    fine: torch.Tensor


class Nested(nn.Module):
    """Channels last inside, a mapping with a named tuple outside, one submodule that runs twice."""

    def __init__(self):
        super().__init__()
        self.lift, self.twice = nn.Linear(3, 8), nn.Linear(8, 8)

    def forward(self, pixels):
        cells = functional.avg_pool2d(pixels, 4).permute(0, 2, 3, 1)
        cells = self.twice(self.twice(self.lift(cells)).relu())
        return {"loss": torch.zeros(()), "maps": Pair(cells, cells.sum(-1))}


def made(kind, *arguments):
    torch.manual_seed(0)
    return kind(*arguments).eval()


def decoded(operator, image=IMAGE):
    return operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(*image.shape[-2:])).values


def test_every_cut_is_on_a_grid_of_its_own():
    operator = lift3d.operator(made(UNet), ("quarter", "middle", "full"), prediction="image")
    assert [one.grid.stride_u for one in operator.encode(IMAGE)] == [4, 2, 1]
    assert operator.geometry.multiple == 4
    assert operator.spec.further_cuts == ((8, 2.0), (6, 1.0))
    assert operator.spec.leaks == ""


def test_a_global_residual_can_be_lifted_or_accepted():
    model = made(Residual)
    assert lift3d.operator(model, ("body", "input"), prediction="image").spec.color_cuts == (1,)
    lossy = lift3d.operator(model, ("body",), prediction="image", allow_leaks=True)
    assert lossy.spec.leaks == "input"
    # Still nothing of the target: a grey image takes its place.
    features = lossy.encode(IMAGE)
    lossy.encode(1 - IMAGE)
    assert torch.equal(
        lossy.decode(features, EMPTY_STATE, SIZE).values, lossy.decode(features, EMPTY_STATE, SIZE).values
    )


def test_the_only_size_that_a_network_takes_is_found_or_given():
    with pytest.raises(ContractError, match="input_size"):
        lift3d.operator(made(OneSize, 2, 13), ("patch",), prediction="labels")
    found = lift3d.operator(made(OneSize, 4, 4), ("patch",), prediction="labels")
    assert found.geometry.fixed == ImageSize(32, 32)
    given = lift3d.operator(made(OneSize, 2, 4), ("patch",), prediction="labels", input_size=(16, 32))
    (features,) = given.encode(IMAGE)
    assert (features.grid.stride_v, features.grid.stride_u) == (24, 16)


def test_ways_into_nested_outputs_and_second_calls():
    model = made(Nested)
    by_name = lift3d.operator(model, ("output:maps.0",)).encode(IMAGE)[0]
    second = lift3d.operator(model, ("twice@1",)).encode(IMAGE)[0]
    assert torch.equal(by_name.values, second.values)
    assert by_name.grid.stride_u == 4
    scalar = lift3d.operator(model, ("twice@1",), prediction="scalar", output="maps.1")
    assert decoded(scalar).shape == (48, 64)
    with pytest.raises(ContractError, match="runs 2 times"):
        lift3d.operator(model, ("twice",))
    with pytest.raises(ContractError, match="no 'nothing' in a dict of loss, maps"):
        lift3d.operator(model, ("output:nothing",))


def test_super_resolution_sees_a_reduced_image():
    class Twice(nn.Module):
        def forward(self, pixels):
            return functional.interpolate(pixels, scale_factor=2)

    operator = lift3d.operator(Twice(), ("input",), prediction="image", enlarges=2, restores=True)
    (features,) = operator.encode(IMAGE)
    assert (features.grid.stride_u, features.grid.rows) == (2, 24)
    reduced = functional.avg_pool2d(IMAGE[None], 2)
    torch.testing.assert_close(decoded(operator), functional.interpolate(reduced, scale_factor=2)[0])


class Spoiled(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.conv, self.how = nn.Conv2d(3, 4, 1), how

    def forward(self, pixels):
        found = self.conv(pixels)
        if self.how == "nan":
            return found * torch.nan
        if self.how == "random":
            return found + torch.rand(1, generator=torch.Generator().manual_seed(int(torch.randint(9**9, ()))))
        return found.mean((2, 3))


@pytest.mark.parametrize(
    ("how", "match"), [("nan", "NaN or infinity"), ("random", "another each time"), ("flat", "none of whose axes")]
)
def test_networks_that_break_their_word(how, match):
    with pytest.raises(ContractError, match=match):
        lift3d.operator(made(Spoiled, how), ("output",))


def test_the_digest_knows_weights_cuts_and_settings_and_a_module_in_a_file_is_an_operator_by_name():
    model = made(UNet)
    digests = [
        lift3d.operator(model, ("full",)).spec.weights_digest,
        lift3d.operator(model, ("middle",)).spec.weights_digest,
        lift3d.operator(model, ("full",), input_size=(32, 32)).spec.weights_digest,
        lift3d.operator(made(Residual), ("body",)).spec.weights_digest,
    ]
    assert len(set(digests)) == 4
    assert lift3d.operator(made(UNet), ("full",)).spec.weights_digest == digests[0]
    name = f"split:{SUPPORT / 'split_net.py'}:net?cuts=0&prediction=labels&mean=0.5,0.5,0.5&labels=no,yes"
    operator = build_operator(name)
    assert operator.spec.name == name
    assert operator.spec.label_names == ("no", "yes")
    assert decoded(operator).shape == (48, 64)
    with pytest.raises(ConfigError, match="takes its options in it"):
        lift3d.operator("rgb", ("input",))
