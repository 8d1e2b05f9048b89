"""Words against features: what relevancy means, and that names, orders and frames of the space do not matter."""

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureMap
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ConfigError, ContractError
from lift3d.operators import open_clip_models
from lift3d.operators.catalog import build_operator
from lift3d.operators.names import OperatorName
from lift3d.operators.open_vocabulary import NEGATIVES, OpenVocabularyOperator, relevancy
from lift3d.operators.protocol import OperatorSpec
from tests.support.operators import CheckerOperator

WORDS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    **dict.fromkeys(NEGATIVES, (1.0, 1.0, 1.0)),
}
SIZE = ImageSize(24, 32)


class ColourWords(CheckerOperator):
    """Cells are their mean colour and words are colours, both seen in some orthogonal frame."""

    def __init__(self, frame: Float[Tensor, "3 3"] | None = None) -> None:
        super().__init__(3)
        self.projection = torch.eye(3) if frame is None else frame
        self.asked: list[str] = []

    def encode_text(self, prompts: "list[str] | tuple[str, ...]") -> Float[Tensor, "prompt channel"]:
        self.asked = list(prompts)
        colours = [WORDS[prompt.removeprefix("a ")] for prompt in prompts]
        return torch.tensor(colours) @ self.projection.T


def named(**options):
    return OperatorName("open_vocabulary", "", tuple({"of": "words", **options}.items()))


def striped_image():
    """Red, green, blue and grey, in that order from the left."""
    image = torch.zeros(3, SIZE.height, SIZE.width)
    for channel in range(3):
        image[channel, :, 8 * channel : 8 * channel + 8] = 0.9
    image[:, :, 24:] = 0.5
    return image


def answer(operator, image=None):
    maps = operator.encode(striped_image() if image is None else image)
    return operator.decode(maps, operator.fit_scene({"a": maps}, SceneViews.of({})), SIZE).values


def names_at_pixels(operator):
    return [[operator.spec.label_names[label] for label in row] for row in answer(operator).tolist()]


def test_each_colour_is_called_by_its_name_and_permuting_prompts_permutes_labels():
    one = OpenVocabularyOperator(named(prompts="red,green,blue"), ColourWords())
    row = names_at_pixels(one)[12]
    assert [row[middle] for middle in (4, 12, 20, 28)] == ["red", "green", "blue", "background"]
    other = OpenVocabularyOperator(named(prompts="blue,red,green"), ColourWords())
    assert other.spec.label_names == ("background", "blue", "red", "green")
    assert names_at_pixels(one) == names_at_pixels(other)


def test_it_is_the_formula_of_lerf():
    generator = torch.Generator().manual_seed(2)
    prompts, negatives = torch.rand(2, 9, generator=generator), torch.rand(4, 9, generator=generator)
    own, other = torch.exp(10 * prompts)[:, None], torch.exp(10 * negatives)[None]
    torch.testing.assert_close(relevancy(prompts, negatives), (own / (own + other)).amin(1))


def test_rotating_the_space_and_stretching_features_changes_nothing():
    frame, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3)))
    for rule, prompts in (("argmax", "red,blue"), ("relevancy", "red")):
        plain = OpenVocabularyOperator(named(prompts=prompts, rule=rule), ColourWords())
        turned = OpenVocabularyOperator(named(prompts=prompts, rule=rule), ColourWords(frame))
        torch.testing.assert_close(answer(turned), answer(plain))
        (features,) = plain.encode(striped_image())
        shorter = FeatureMap(0.3 * features.values, features.grid)
        torch.testing.assert_close(plain.decode((shorter,), EMPTY_STATE, SIZE).values, answer(plain))


def test_prompts_stand_in_the_template_and_negatives_alone():
    inner = ColourWords()
    operator = OpenVocabularyOperator(named(prompts="red, blue"), inner)
    assert inner.asked == ["a red", "a blue", *NEGATIVES]
    assert operator.spec.label_names == ("background", "red", "blue")


def test_what_is_lifted_knows_no_words_and_the_inner_operator_is_part_of_the_identity():
    inner = ColourWords()
    operator = OpenVocabularyOperator(named(prompts="red"), inner)
    (ours,), (theirs,) = operator.encode(striped_image()), inner.encode(striped_image())
    assert torch.equal(ours.values, theirs.values)
    assert ours.grid == theirs.grid
    assert operator.fit_scene({"a": (ours,)}, SceneViews.of({})).is_empty
    one, other = ColourWords(), ColourWords()
    other.spec = OperatorSpec("checker:3?stride=4", 2, "embedding", channel_count=3)
    digests = {OpenVocabularyOperator(named(prompts="red"), inner).spec.weights_digest for inner in (one, other)}
    assert len(digests) == 2


def test_the_spec_says_the_rule_and_where_the_threshold_comes_from():
    labels = OpenVocabularyOperator(named(prompts="red,blue"), ColourWords()).spec
    scalar = OpenVocabularyOperator(named(prompts="red", rule="relevancy"), ColourWords()).spec
    assert (labels.prediction_kind, labels.threshold_source) == ("labels", "relevancy > 0.5")
    assert (scalar.prediction_kind, scalar.threshold_source) == ("scalar", "")
    assert scalar.label_names == ("background", "red")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "prompts must name things"),
        ({"prompts": "red,,blue"}, "prompts must name things"),
        ({"prompts": " "}, "prompts must name things"),
        ({"prompts": "red,red"}, "prompts names a thing twice"),
        ({"prompts": "red,background"}, "leave it away"),
        ({"prompts": "red", "rule": "best"}, "Known: argmax, relevancy"),
        ({"prompts": "red,blue", "rule": "relevancy"}, "one prompt, got 2"),
    ],
)
def test_words_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        OpenVocabularyOperator(named(**options), ColourWords())


def test_texts_of_another_space_are_a_broken_promise():
    class Mixed(ColourWords):
        def encode_text(self, prompts):
            return torch.nn.functional.pad(super().encode_text(prompts), (0, 1))

    with pytest.raises(ContractError, match="one space for both"):
        answer(OpenVocabularyOperator(named(prompts="red"), Mixed()))


def test_texts_of_open_clip_are_the_plain_models_and_a_tokenizer_out_of_reach_says_what_to_do(monkeypatch):
    clip = build_operator("open_clip:ViT-S-32?weights=random")
    tokens = open_clip_models.open_clip.get_tokenizer("ViT-S-32")(["a red ball", "things"])
    with torch.no_grad():
        expected = clip._model.encode_text(tokens)
    assert expected.shape == (2, clip.spec.channel_count)
    torch.testing.assert_close(clip.encode_text(("a red ball", "things")), expected)

    def unreachable(*args, **options):
        raise OSError("couldn't connect")

    monkeypatch.setattr(open_clip_models.open_clip, "get_tokenizer", unreachable)
    with pytest.raises(ConfigError, match=r"couldn't connect.*open_clip's own tokenizer"):
        clip.encode_text(["red"])
