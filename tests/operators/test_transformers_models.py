"""Models of transformers by name: what each task becomes, where weights may come from, and what is refused."""

import json
import re
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.errors import ConfigError
from lift3d.operators.catalog import build_operator
from lift3d.operators.split.run import noise
from lift3d.operators.transformers.weights import BUILT_IN, library

SIZE = ImageSize(64, 80)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@cache
def built(name):
    return build_operator(name)


def decoded(operator):
    return operator.decode(operator.encode(noise(SIZE)[0]), EMPTY_STATE, SIZE)


def saved(kind, folder):
    """Save a small model as save_pretrained does."""
    transformers = library()
    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[kind].from_dict(json.loads(BUILT_IN[kind].read_text()))
    model = getattr(transformers, config.architectures[0])(config).eval()
    config.save_pretrained(folder)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return model


@pytest.mark.parametrize(
    ("name", "kind", "quantity"),
    [
        ("segformer", "labels", "label"),
        ("mask2former", "labels", "label"),
        ("dpt", "scalar", "disparity"),
        ("depth_anything", "scalar", "disparity"),
        ("swin2sr", "image", "invariant"),
        ("sam", "embedding", "invariant"),
        ("clipseg?prompts=a cup", "scalar", "label"),
        ("clipseg?prompts=a cup,a table", "labels", "label"),
        ("segformer?task=image-feature-extraction", "embedding", "invariant"),
        ("dpt?cuts=neck.fusion_stage.layers.3", "scalar", "invariant"),
    ],
)
def test_every_task_is_an_operator_by_its_name(name, kind, quantity):
    name = f"transformers:{name}{'&' if '?' in name else '?'}weights=random"
    operator = built(name)
    assert (operator.spec.name, operator.spec.prediction_kind, operator.spec.quantity) == (name, kind, quantity)
    found = decoded(operator)
    assert found.kind == kind
    assert kind == "embedding" or found.values.shape[-2:] == (SIZE.height, SIZE.width)
    assert operator.spec.leaks == ""


def test_labels_and_restoration_are_told_and_prompts_change_what_is_seen():
    segmenting = built("transformers:segformer?weights=random").spec
    assert segmenting.label_names == ("wall", "floor", "chair", "table")
    assert built("transformers:clipseg?weights=random&prompts=a cup,a table").spec.label_names == ("a cup", "a table")
    assert built("transformers:swin2sr?weights=random").spec.restores
    one = built("transformers:clipseg?weights=random&prompts=a cup")
    other = built("transformers:clipseg?weights=random&prompts=a table")
    assert not torch.equal(decoded(one).values, decoded(other).values)
    assert 0 <= decoded(one).values.min() <= decoded(one).values.max() <= 1


def test_a_folder_is_read_with_its_weights_card_and_preprocessor(tmp_path):
    model = saved("segformer", tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    says = {"do_rescale": True, "rescale_factor": 1 / 255, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(says))
    operator = build_operator(f"transformers:{tmp_path}")
    assert operator.spec.licence == "mit"
    image = noise(SIZE)[0]
    mean, std = torch.tensor(says["image_mean"])[:, None, None], torch.tensor(says["image_std"])[:, None, None]
    with torch.no_grad():
        expected = model(((image - mean) / std)[None]).logits[0]
    torch.testing.assert_close(operator.encode(image)[0].values, expected, atol=1e-5, rtol=1e-4)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_rescale": False, "do_normalize": False}))
    with torch.no_grad():
        expected = model(255 * image[None]).logits[0]
    plain = build_operator(f"transformers:{tmp_path}")
    torch.testing.assert_close(plain.encode(image)[0].values, expected, atol=1e-3, rtol=1e-3)


def test_random_weights_are_those_of_a_seed_and_a_configuration_can_be_a_folders(tmp_path):
    names = ("transformers:dpt?weights=random", "transformers:dpt?weights=random&seed=1")
    first, again, other = (build_operator(name).spec.weights_digest for name in (names[0], *names))
    assert first == again != other
    says = {**json.loads(BUILT_IN["segformer"].read_text()), "decoder_hidden_size": 24}
    (tmp_path / "config.json").write_text(json.dumps(says))
    name = f"transformers:{tmp_path}?weights=random&cuts=decode_head.dropout"
    assert build_operator(name).spec.channel_count == 24


@pytest.mark.fault(36, "a folder with pickled weights alone")
def test_pickled_weights_are_refused_unless_asked_for(tmp_path):
    model = saved("segformer", tmp_path)
    safe = build_operator(f"transformers:{tmp_path}").spec.weights_digest
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"there are no weights in .*expected model.safetensors"):
        build_operator(f"transformers:{tmp_path}")
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pickled \(pytorch_model.bin\).*allow_pickle=1"):
        build_operator(f"transformers:{tmp_path}")
    assert build_operator(f"transformers:{tmp_path}?allow_pickle=1").spec.weights_digest == safe


@pytest.mark.fault(36, "weights that lack a tensor or have one in another shape")
@pytest.mark.parametrize("is_reshaped", [False, True])
def test_weights_that_do_not_fill_the_model_are_refused(tmp_path, is_reshaped):
    saved("segformer", tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    head = state.pop("decode_head.classifier.weight")
    if is_reshaped:
        state["decode_head.classifier.weight"] = head[:2].contiguous()
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"decode_head.classifier.weight"):
        build_operator(f"transformers:{tmp_path}")


def test_a_repository_is_read_from_the_hubs_cache_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"name a commit.*none.*hf download someone/model --revision"):
        build_operator("transformers:someone/model")
    with pytest.raises(ConfigError, match=f"no such commit.*hf download someone/model --revision {COMMIT}"):
        build_operator(f"transformers:someone/model?revision={COMMIT}")
    folder = tmp_path / "models--someone--model" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    saved("segformer", folder)
    with pytest.raises(ConfigError, match=f"got 'main'. Commits in the cache: {COMMIT}"):
        build_operator("transformers:someone/model?revision=main")
    operator = build_operator(f"transformers:someone/model?revision={COMMIT}")
    assert decoded(operator).kind == "labels"


def test_a_tokenizer_or_a_library_that_is_not_there_is_said(tmp_path, monkeypatch):
    saved("clipseg", tmp_path)
    with pytest.raises(ConfigError, match="there is no tokenizer in"):
        build_operator(f"transformers:{tmp_path}?prompts=a cup")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'lift3d\[transformers\]'"):
        build_operator("transformers:segformer?weights=random")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "does not read"),
        ('{"model_type": "segformer", "depths": "four"}', "its configuration does not read"),
        ('{"model_type": "vision-of-tomorrow"}', "no architecture 'vision-of-tomorrow'"),
    ],
)
def test_configurations_that_are_none(tmp_path, content, said):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=said):
        build_operator(f"transformers:{tmp_path}")


def test_the_names_on_the_page_are_operators():
    page = (Path(__file__).parents[2] / "docs" / "model-libraries.md").read_text(encoding="utf-8")
    names = re.findall(r"^transformers:\S.*$", page, re.MULTILINE)
    assert len(names) == 8
    assert all(built(name).spec.name == name for name in names)
