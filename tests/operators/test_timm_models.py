from pathlib import Path
from unittest.mock import Mock

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from lift3d.errors import ConfigError
from lift3d.operators import timm_models
from lift3d.operators.catalog import build_operator
from lift3d.operators.hub import hub_or_cache
from tests.support.operators import image_of

timm = timm_models.timm
RANDOM_VIT = "timm:test_vit?weights=random"


def save_weights(path: Path, network: torch.nn.Module) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


def plain_network(name: str, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, **options).eval()


def test_features_equal_the_plain_network(tmp_path: Path) -> None:
    # A file written with its classifier, as published ones are.
    network = plain_network("test_vit")
    path = save_weights(tmp_path / "vit.safetensors", network)
    operator = build_operator(f"timm:test_vit?weights={path}")
    image = image_of(160, 160)
    (features,) = operator.encode(image)
    config = timm.data.resolve_model_data_config(network)
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        tokens = network.forward_features(((image - mean) / std)[None])[0]
    torch.testing.assert_close(features.global_tokens, tokens[:1])
    torch.testing.assert_close(features.values.flatten(1).T, tokens[1:])


def test_the_digest_is_of_the_content_also_of_a_nested_checkpoint(tmp_path: Path) -> None:
    random = build_operator(RANDOM_VIT)
    nested = tmp_path / "nested.pth"
    torch.save({"state_dict": random._network.state_dict()}, nested)
    for path in (save_weights(tmp_path / "same.safetensors", random._network), nested):
        assert build_operator(f"timm:test_vit?weights={path}").spec.weights_digest == random.spec.weights_digest
    assert build_operator(f"{RANDOM_VIT}&seed=1").spec.weights_digest != random.spec.weights_digest


def test_tokens_beside_the_cells_are_global_and_the_default_stage_is_the_deepest_of_stride_16() -> None:
    (features,) = build_operator("timm:vit_small_patch14_reg4_dinov2?weights=random&layer=0").encode(image_of(28, 42))
    assert features.global_tokens.shape == (5, 384)
    assert features.values.shape == (384, 2, 3)
    assert build_operator("timm:resnet18?weights=random").spec.stride_px == 16
    assert build_operator("timm:resnet18?weights=random&layer=-1").spec.stride_px == 32
    assert build_operator("timm:resnet18?weights=random&layer=1").spec.channel_count == 64


def test_a_greater_height_gives_finer_cells_of_the_same_image() -> None:
    coarse = build_operator(RANDOM_VIT).encode(image_of(64, 96))[0].grid
    fine = build_operator(f"{RANDOM_VIT}&height=128").encode(image_of(64, 96))[0].grid
    assert (coarse.rows, coarse.cols, coarse.stride_u) == (4, 6, 16.0)
    assert (fine.rows, fine.cols, fine.stride_u) == (8, 12, 8.0)
    assert (fine.origin_u, fine.origin_v) == (0.0, 0.0)


def test_a_hub_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    create = timm.create_model

    def unreachable(*args: object, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            raise OSError("Name or service not known")
        return create(*args, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ConfigError, match=r"Name or service.*weights=FILE or weights=random"):
        build_operator("timm:test_vit")
    monkeypatch.undo()
    # A hub that does not answer is not asked again and again: what its cache holds is all there is.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("time.sleep", pytest.fail)
    with pytest.raises(ConfigError, match=r"http://127.0.0.1:9 does not answer .*weights=FILE or weights=random"):
        build_operator("timm:test_vit.r160_in1k")
    # One that is reached and slow is its client's, which is more patient.
    slow = type("ReadTimeout", (Exception,), {})
    monkeypatch.setattr("huggingface_hub.get_session", lambda: Mock(head=Mock(side_effect=slow)))
    with hub_or_cache(is_asked=True):
        assert not huggingface_hub.constants.HF_HUB_OFFLINE


@pytest.mark.fault(36, "weights of another shape")
def test_weights_of_another_network_or_shape_are_refused(tmp_path: Path) -> None:
    other = save_weights(tmp_path / "other.safetensors", plain_network("test_convnext"))
    with pytest.raises(ConfigError, match="does not fit the network"):
        build_operator(f"timm:test_vit?weights={other}")

    state = plain_network("test_vit").state_dict()
    state["pos_embed"] = torch.zeros(1, 5, 64)
    save_file(state, tmp_path / "small.safetensors")
    with pytest.raises(ConfigError, match=r"another shape.*pos_embed"):
        build_operator(f"timm:test_vit?weights={tmp_path}/small.safetensors")


@pytest.mark.fault(36, "files of weights that hold something else")
@pytest.mark.parametrize("name", ["nothing.safetensors", "text.safetensors", "text.pth", "list.pth"])
def test_files_that_hold_no_weights_are_refused(tmp_path: Path, name: str) -> None:
    if name.startswith("text"):
        (tmp_path / name).write_text("not weights")
    if name.startswith("list"):
        torch.save([1, 2], tmp_path / name)
    with pytest.raises(ConfigError, match="eights file"):
        build_operator(f"timm:test_vit?weights={tmp_path}/{name}")
