"""Networks on a GPU give what they give on the CPU, up to its arithmetic."""

import pytest
import torch

from lift3d.operators.catalog import build_operator

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224?weights=random", "open_clip:ViT-S-32?weights=random"])
def test_features_of_gpu_and_cpu_agree(name):
    image, operator = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0)), build_operator(name)
    on_cpu = operator.encode(image)[0]
    operator.to(torch.device("cuda"))
    with torch.device("cuda"):
        on_gpu = operator.encode(image.cuda())[0]
    assert on_gpu.values.device.type == "cuda"
    assert on_gpu.grid == on_cpu.grid
    cosine = torch.nn.functional.cosine_similarity(on_gpu.values.cpu(), on_cpu.values, dim=0)
    assert float(cosine.min()) > 0.999
