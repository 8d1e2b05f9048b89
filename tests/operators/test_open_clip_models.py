import pytest
import torch

from lift3d.errors import ConfigError
from lift3d.operators import open_clip_models, open_clip_towers
from lift3d.operators.catalog import build_operator
from lift3d.operators.network_weights import seeded
from lift3d.operators.protocol import Operator
from tests.support.operators import image_of

open_clip = open_clip_models.open_clip
VIT = "open_clip:ViT-S-32?weights=random"


@pytest.fixture(scope="module")
def clip() -> torch.nn.Module:
    with seeded(0):
        return open_clip.create_model("ViT-S-32", pretrained=None).eval()


@pytest.fixture(scope="module")
def operator() -> Operator:
    return build_operator(VIT)


def test_the_global_token_is_the_plain_models_embedding(clip: torch.nn.Module, operator: Operator) -> None:
    image = image_of(224, 224)
    (features,) = operator.encode(image)
    config = open_clip.get_model_preprocess_cfg(clip)
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        plain = clip.encode_image(((image - mean) / std)[None])
    torch.testing.assert_close(features.global_tokens, plain)
    assert features.values.shape == (384, 7, 7)


def test_the_value_path_is_attention_to_oneself(clip: torch.nn.Module) -> None:
    block = clip.visual.transformer.resblocks[-1]
    tokens = torch.randn(1, 5, 384, generator=torch.Generator().manual_seed(0))
    to_oneself = torch.full((5, 5), -torch.inf).fill_diagonal_(0)
    with torch.no_grad():
        expected = block(tokens, attn_mask=to_oneself)
        torch.testing.assert_close(open_clip_towers._value_path(block, tokens), expected)


def test_a_convolutional_tower_embeds_each_cell_like_an_image_and_one_without_a_dense_form_is_refused() -> None:
    with seeded(0):
        model = open_clip.create_model("MobileCLIP2-S0", pretrained=None, pretrained_text=False).eval()
    tower = open_clip_towers.dense_tower(model.visual)
    # All cells alike: then each is embedded as the image is.
    pixels = torch.full((1, 3, 64, 96), 0.25)
    with torch.no_grad():
        (cells,), pooled = tower.embed(pixels)
        plain = model.visual(pixels)
        features = model.visual.trunk.forward_features(pixels)
        single = model.visual.head(model.visual.trunk.forward_head(features[:, :, :1, :1]))
    assert cells.shape == (512, 2, 3)
    torch.testing.assert_close(pooled, plain)
    torch.testing.assert_close(cells[:, 0, 0], single[0])
    with pytest.raises(ConfigError, match="no dense form"):
        open_clip_towers.dense_tower(torch.nn.Linear(2, 2))


def test_a_hub_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **options: object) -> object:
        raise RuntimeError("Name or service not known")

    monkeypatch.setattr(open_clip, "create_model", unreachable)
    with pytest.raises(ConfigError, match=r"Name or service.*weights=FILE or \?weights=random"):
        build_operator("open_clip:ViT-B-16/laion2b_s34b_b88k")
