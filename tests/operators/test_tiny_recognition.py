"""The shipped small models that recognise: better than plain baselines on unseen scenes, and true to their words."""

from functools import cache

import pytest
import torch

from lift3d.errors import ConfigError
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator
from lift3d.operators.tiny.catalog import TINY, WEIGHTS, build
from lift3d.operators.tiny.image_text import VOCABULARY
from lift3d.operators.tiny.segmenter import CLASS_NAMES
from lift3d.synthetic.objects import COLORS, EVALUATION_SEEDS, MATERIALS, OBJECT_LABELS, SHAPES, WITHHELD_PAIRS
from lift3d.synthetic.stage import LABELS
from lift3d.training.tiny import captions, train_clip, train_encoder, train_segmenter
from lift3d.training.tiny.captions import CANONICAL_NEGATIVES
from lift3d.training.tiny.pixel_batches import draw_batch
from lift3d.training.tiny.probe_figures import measure_encoder
from lift3d.training.tiny.recognition_figures import (
    evaluation_scenes,
    measure_clip,
    measure_color_histogram,
    measure_named_colors,
    measure_segmenter,
)
from lift3d.training.tiny.scene_pictures import ScenePicture, Shot, training_pictures


@cache
def _operator(name: str) -> Operator:
    return build(OperatorName.parse(f"tiny:{name}"))


@cache
def _objects() -> list[list[ScenePicture]]:
    return evaluation_scenes("objects", EVALUATION_SEEDS[1:3], Shot(views=3, height=120, spacing=7.0))


def test_prompts_find_what_they_name_on_scenes_that_were_not_trained_on() -> None:
    found, plain = measure_clip(_operator("clip"), _objects()), measure_named_colors(_objects())
    assert found.mean_iou > 0.65
    assert found.mean_iou > 3 * plain.mean_iou
    # Pairs of colour and shape that no picture and no caption of training had.
    assert found.withheld_iou > 0.6
    assert found.withheld_iou > 2 * plain.withheld_iou


def test_texts_are_unit_vectors_of_their_words_in_any_order_and_nearer_to_what_shares_them() -> None:
    one, other, third = _operator("clip").encode_text(["a red ball", "ball, red", "the striped cylinder"])
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(torch.stack([one, third]).norm(dim=1), torch.ones(2))
    assert one.shape == (_operator("clip").spec.channel_count,)
    assert not torch.allclose(one, third)
    red_ball, red_box, blue_box, floor = _operator("clip").encode_text(["red ball", "red box", "blue box", "floor"])
    assert red_ball @ red_box > red_ball @ blue_box > red_ball @ floor


@pytest.mark.parametrize(
    ("prompt", "says"), [("a pink ball", "pink"), ("", "says nothing"), ("a the", "says nothing"), ("Rotkugel", "red")]
)
def test_prompts_that_cannot_be_understood_are_refused_with_the_vocabulary(prompt: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        _operator("clip").encode_text(["red", prompt])
    assert ", ".join(VOCABULARY) in str(refused.value)
    assert {*COLORS, *SHAPES, *MATERIALS, *CANONICAL_NEGATIVES, "background"} <= set(VOCABULARY)


def test_no_training_caption_and_no_training_seed_has_a_withheld_pair() -> None:
    for prompts in captions.KINDS.values():
        for words in (set(prompt.split()) for prompt in prompts):
            assert not any(color in words and shape in words for color, shape in WITHHELD_PAIRS)
    for seeds in (*(seeds for seeds, _ in train_clip.SHOTS), train_segmenter.SEEDS, train_encoder.SEEDS):
        assert max(seeds) < min(EVALUATION_SEEDS)
    with pytest.raises(ConfigError, match="evaluation"):
        training_pictures("objects", [EVALUATION_SEEDS[0]], Shot())


def test_captions_fit_the_pixels_that_have_all_of_their_words() -> None:
    pairs = captions.captions_of("pair")
    label, pattern = OBJECT_LABELS["red box"], 2
    fitting = pairs.fits[label, pattern].nonzero().reshape(-1).tolist()
    assert [captions.KINDS["pair"][index] for index in fitting] == ["red box"]
    everything = captions.captions_of("all")
    fitting = everything.fits[label, pattern].nonzero().reshape(-1).tolist()
    assert [captions.KINDS["all"][index] for index in fitting] == ["striped red box"]
    assert captions.captions_of("general").fits[OBJECT_LABELS["floor"], 0].any()
    assert not captions.captions_of("color").fits[OBJECT_LABELS["floor"]].any()


def test_segmentation_beats_a_histogram_of_colours_on_scenes_that_were_not_trained_on() -> None:
    assert tuple(LABELS) == CLASS_NAMES == _operator("segmenter").spec.label_names
    shot = Shot(views=2, height=96)
    families = ("room", "street")
    scenes = [scene for family in families for scene in evaluation_scenes(family, EVALUATION_SEEDS[:1], shot)]
    training = [one for family in families for one in training_pictures(family, range(4), shot)]
    found = measure_segmenter(_operator("segmenter"), scenes).mean_iou
    assert found > measure_color_histogram(training, scenes).mean_iou + 0.15


def test_more_can_be_read_off_the_encoder_than_off_colours_and_gradients() -> None:
    for found, plain in measure_encoder(_operator("encoder"), EVALUATION_SEEDS[:2], ("room",)).values():
        assert found > float(plain.rsplit(" ", 1)[1])


@pytest.mark.parametrize("name", ["encoder", "clip", "segmenter"])
def test_a_crop_says_what_the_whole_image_says(name: str) -> None:
    """Nothing is normalised over the image; the encoder's attention alone looks that far."""
    picture = _objects()[0][0].image[:, :112, :160]
    whole = _operator(name).encode(picture)[0].values
    crop = _operator(name).encode(picture[:, :, 32:].contiguous())[0].values
    skipped = whole.shape[2] - crop.shape[2]
    similar = torch.nn.functional.cosine_similarity(whole[:, :, skipped:], crop, dim=0)
    assert similar[:, crop.shape[2] // 2 :].mean() > (0.9 if name == "encoder" else 0.98)


def test_weights_are_small_and_have_cards() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.glob("*.safetensors")) < 10**7
    for name in TINY:
        card = (WEIGHTS / f"{name}.md").read_text(encoding="utf-8")
        assert f"lift3d train-tiny {name}" in card
        assert "## Figures" in card


def test_batches_keep_pixels_with_their_labels() -> None:
    """A picture that is painted by its labels gives back the label at every drawn pixel, mirrored or not."""
    labels = (torch.arange(120 * 160).reshape(120, 160) // 7) % 5
    image = (labels / 10 + 0.2).expand(3, 120, 160).contiguous()
    picture = ScenePicture(image, labels, torch.zeros_like(labels), labels.float())
    batch = draw_batch([picture], 2, 50, torch.Generator().manual_seed(1))
    painted = torch.nn.functional.grid_sample(batch.images, batch.places[:, None], align_corners=False)[:, :, 0]
    # Light changes smoothly over a picture; within one the order of the labels' brightness stays.
    for one, own in zip(painted.mean(1), batch.labels.reshape(2, 50), strict=True):
        correlation = torch.corrcoef(torch.stack([one, own.float()]))[0, 1]
        assert correlation > 0.6
