"""The whole line on a GPU: it says what the host says, and what it said before."""

import pytest
import torch

from lift3d.operators.catalog import build_operator
from lift3d.pipeline.device import HOST
from lift3d.scenes.catalog import read_scene
from tests.support.walks import arrays_of, assert_alike, walked

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]

OPERATORS = ("rgb", "tiny:encoder", "tiny:segmenter", "tiny:depth", "tiny:colorizer")


@pytest.fixture(scope="module", params=["sensor", "sweep"])
def walks(request):
    """The host's walk, and two of the GPU."""
    scene = read_scene("procedural:room?views=8&height=96&width=128")
    lifters = ["anchored", "plane_sweep", "lift3d"] if request.param == "sensor" else ["anchored"]
    operators = [build_operator(name) for name in OPERATORS]
    fields = {"image_height": 96, "geometry": request.param}
    return [walked(torch.device(device), scene, operators, lifters, **fields) for device in (HOST, "cuda", "cuda")]


def test_a_gpu_says_what_the_host_says(walks):
    """Figures to 1 %; one value in two hundred may differ by more than rounding: decisions at edges of surfaces."""
    assert_alike(walks[1], walks[0], figures=1e-2, odd=5e-3)


def test_a_gpu_says_the_same_again_to_the_bit(walks):
    for key, view in walks[1].views.items():
        for one, again in zip(arrays_of(view), arrays_of(walks[2].views[key]), strict=True):
            assert torch.equal(one.nan_to_num(), again.nan_to_num()), key
