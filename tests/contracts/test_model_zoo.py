"""Every model of the zoo is an operator by one call, and keeps what the call promises.

Its answer is made of lifted features alone, is the model's own when nothing was lifted, and its cells sit where
kernels and paddings say.
"""

from functools import cache

import pytest
import torch
from torch import nn

import lift3d
from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.errors import ConfigError, ContractError
from lift3d.operators.split.model import SplitModel
from lift3d.operators.split.run import noise
from tests.support.model_zoo import MADE_UP, ZOO

ALL = tuple(ZOO)
ANSWERING = tuple(name for name, case in ZOO.items() if "prediction" in case.settings)


@cache
def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return ZOO[name].make().eval()


@cache
def operator_of(name: str) -> SplitModel:
    case = ZOO[name]
    return lift3d.operator(model_of(name), case.cuts, **case.settings)


def image_of(name: str, seed: int = 3) -> torch.Tensor:
    side, probed = ZOO[name].side, operator_of(name).geometry.probed
    return noise(ImageSize(side, side) if side else probed, seed=seed)[0]


def shown(name: str) -> torch.Tensor:
    """Return the image whose reduction is what the model sees; the same for most."""
    by = ZOO[name].settings.get("enlarges", 1)
    return image_of(name).repeat_interleave(by, 1).repeat_interleave(by, 2)


def ran(name: str, pixels: torch.Tensor) -> torch.Tensor:
    """Return what a model answers, as it is: its first tensor, or the one that the settings name."""
    settings = ZOO[name].settings
    call = settings.get("call", lambda model, pixels: model(pixels))
    with torch.no_grad():
        found = call(model_of(name), pixels)
    if "output" in settings:
        return found[settings["output"]]
    return found if isinstance(found, torch.Tensor) else found[0]


def behind_the_cuts(name: str, maps, pixels: torch.Tensor) -> torch.Tensor:
    """Run a model on an image with other features at its cuts, by hooks that know nothing of lift3d's."""
    model, handles = model_of(name), []
    for cut, geometry, one in zip(ZOO[name].cuts, operator_of(name).geometry.cuts, maps, strict=True):
        tensor = geometry.layout.to_tensor(one.values, one.global_tokens).clone()
        place, _, key = cut.partition(":")
        module, _, call = place.partition("@")
        counts = []

        def hook(_, __, output, tensor=tensor, key=key, call=call, counts=counts):
            counts.append(0)
            if call and int(call) != len(counts) - 1:
                return output
            if isinstance(output, dict):
                output[key] = tensor
                return output
            return (tensor, *output[1:]) if isinstance(output, tuple) else tensor

        if module == "input":
            pixels = tensor
        elif module != "output":
            handles.append(model.get_submodule(module).register_forward_hook(hook, prepend=True))
    try:
        return ran(name, pixels)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("name", ALL)
def test_nothing_of_another_image_gets_past_lifted_features(name):
    maps, own = operator_of(name).encode(shown(name)), ran(name, image_of(name)[None])
    if ZOO[name].cuts[0].startswith("output"):
        assert torch.equal(maps[0].values, own.reshape(maps[0].values.shape))
        return
    for seed in (8, 9):
        found = behind_the_cuts(name, maps, image_of(name, seed)[None])
        torch.testing.assert_close(found, own, atol=1e-4 * float(own.abs().amax()), rtol=1e-4)


@pytest.mark.parametrize("name", ANSWERING)
def test_what_is_not_lifted_gives_the_models_own_answer(name):
    operator, settings, image = operator_of(name), ZOO[name].settings, shown(name)
    answer = operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(*image.shape[-2:])).values
    assert answer.shape[-2:] == image.shape[-2:]
    own = ran(name, image_of(name)[None])[0]
    own = own.permute(2, 0, 1) if name == "channels_last" else own.reshape(-1, *own.shape[-2:])
    own = nn.functional.interpolate(own[None], image.shape[-2:], mode="bilinear", antialias=True)[0]
    if settings["prediction"] == "labels":
        # Where the two best scores are equal but for rounding, either is right.
        assert (answer == own.argmax(0)).float().mean() > 0.999
    else:
        own = own.clamp(0, 1) if settings["prediction"] == "image" else own
        torch.testing.assert_close(answer.reshape(own.shape), own, atol=1e-4 * float(own.abs().amax()), rtol=1e-4)


@pytest.mark.parametrize("name", [name for name, case in ZOO.items() if case.lattices])
def test_cells_sit_where_kernels_and_paddings_say(name):
    for found, (stride, first) in zip(operator_of(name).geometry.cuts, ZOO[name].lattices, strict=True):
        assert found.layout.stride == (stride, stride)
        for side in found.first:
            assert abs(side - first) <= 0.1 * max(stride, 2), (found.first, first)


@pytest.mark.parametrize(
    ("name", "cuts", "named"),
    [
        ("unet", ("quarter",), ("full", "middle")),
        ("unet", ("quarter", "middle"), ("full",)),
        ("residual", ("body",), ("input",)),
        ("dpt", ("neck.fusion_stage.layers.2",), ("neck.fusion_stage.layers.3.residual_layer1",)),
        ("segformer", ("decode_head.linear_projections.0",), ("decode_head.linear_projections.1.proj",)),
    ],
)
def test_what_passes_the_cuts_is_named(name, cuts, named):
    settings = ZOO[name].settings
    with pytest.raises(ContractError, match="uncut paths") as caught:
        lift3d.operator(model_of(name), cuts, **settings)
    assert all(f'"{one}"' in str(caught.value) for one in named), str(caught.value)
    if name not in MADE_UP:
        return  # Probing the larger ones again takes long.
    remedy = str(caught.value).partition("cuts=(")[2].partition(")")[0]
    whole = lift3d.operator(model_of(name), [part.strip().strip('"') for part in remedy.split(",")], **settings)
    assert whole.spec.leaks == ""


@pytest.mark.parametrize(
    ("name", "cuts", "settings", "error", "match"),
    [
        ("resnet18", ("layer5",), {}, ConfigError, "no submodule 'layer5'. Closest: layer"),
        ("test_vit", ("fc_norm",), {}, ContractError, "none of whose axes follow"),
        ("dpt", ("dpt.encoder.layers.1",), {}, ConfigError, "Closest: dpt.encoder.layer.1"),
        ("sam", ("neck:3",), {}, ContractError, "neck:3"),
        ("unet", (), {}, ConfigError, "at least one cut"),
        ("unet", ("full", "full"), {}, ConfigError, "twice"),
        ("unet", ("full",), {"predicts": "image"}, ConfigError, "no option predicts"),
        ("unet", ("full",), {"enlarges": 0}, ConfigError, "at least 1, got 0"),
    ],
)
def test_what_cannot_be_cut_is_said(name, cuts, settings, error, match):
    with pytest.raises(error, match=match):
        lift3d.operator(model_of(name), cuts, **settings)


class Moody(nn.Module):
    """Gives another shape once it has been probed."""

    def __init__(self):
        super().__init__()
        self.cells, self.is_late = nn.Conv2d(3, 4, 4, 4), False

    def forward(self, pixels):
        return self.cells(pixels)[:, :, : -3 if self.is_late else None]


@pytest.mark.fault(30, "a torch module gives another shape once it has been probed")
def test_a_model_that_breaks_its_word_later_is_caught():
    model, image = Moody().eval(), noise(ImageSize(48, 48))[0]
    operator = lift3d.operator(model, ("output",))
    assert operator.encode(image)[0].grid.rows == 12
    model.is_late = True
    with pytest.raises(ContractError, match="expected 12×12"):
        operator.encode(image)
