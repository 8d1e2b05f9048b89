"""How models of transformers answer: per task, how a model is run, where it is cut, and what its answer means."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lift3d.errors import ConfigError
from lift3d.operators.protocol import Quantity
from lift3d.operators.split.model import SplitOptions
from lift3d.operators.transformers.weights import Source, library, quiet

# Architectures that give masks with classes, and the classes of transformers that are them.
_MASK_CLASSIFIERS = {
    "mask2former": "Mask2FormerForUniversalSegmentation",
    "maskformer": "MaskFormerForInstanceSegmentation",
}
# Architectures whose depth is metric (their model cards); others say so in their configuration, or give disparity.
_METRIC = ("zoedepth", "glpn", "depth_pro")
# Architectures of image-to-image that add to the image itself, by their upsampler.
_ADDS_TO_IMAGE = ("pixelshuffle_aux", "")
# Files that a tokenizer of CLIP lies in, as one or with merges.txt.
_TOKENIZERS = ("tokenizer.json", "vocab.json")


@dataclass(frozen=True, slots=True)
class Reading:
    """How a task's model is run and read, and where it is cut unless the name says otherwise."""

    model: nn.Module
    options: SplitOptions
    cuts: tuple[str, ...] = ("output",)


def _segmentation(source: Source, model: Any) -> Reading:
    is_masks, names = source.config.model_type in _MASK_CLASSIFIERS, _label_names(source.config)
    call = _class_scores if is_masks else lambda model, pixels: model(pixels).logits
    return Reading(model, SplitOptions(prediction="labels", quantity="label", call=call, label_names=names))


def _class_scores(model: nn.Module, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 class row col"]:
    """Return scores per class: every mask's share times what its class is, without the class "nothing".

    Source:
        Cheng et al., Per-pixel classification is not all you need for semantic segmentation, NeurIPS 2021, §3.4.
    """
    found = model(pixels)
    classes = found.class_queries_logits.softmax(-1)[..., :-1]
    return torch.einsum("nqc,nqhw->nchw", classes, found.masks_queries_logits.sigmoid())


def _label_names(config: Any) -> tuple[str, ...]:
    names = tuple(str(config.id2label[index]) for index in sorted(config.id2label))
    # LABEL_0, … are what transformers calls classes that nobody has named.
    return () if all(name.startswith("LABEL_") for name in names) else names


def _depth(source: Source, model: Any) -> Reading:
    config = source.config
    is_metric = config.model_type in _METRIC or getattr(config, "depth_estimation_type", "relative") == "metric"
    quantity: Quantity = "depth" if is_metric else "disparity"
    options = SplitOptions(
        prediction="scalar", quantity=quantity, call=lambda model, pixels: model(pixels).predicted_depth
    )
    return Reading(model, options)


def _restoration(source: Source, model: Any) -> Reading:
    config = source.config
    # Its first layers and the image itself are joined again behind the last hidden map of some.
    adds = getattr(config, "upsampler", "pixelshuffle") in _ADDS_TO_IMAGE
    return Reading(
        model,
        SplitOptions(
            prediction="image",
            call=lambda model, pixels: model(pixels).reconstruction,
            enlarges=int(getattr(config, "upscale", 1)),
            restores=True,
        ),
        (f"{config.model_type}:last_hidden_state", *(("input",) if adds else ())),
    )


def _features(source: Source, model: Any) -> Reading:
    # Models that take prompts or texts as well have a part for images.
    encoder = getattr(model, "vision_encoder", getattr(model, "vision_model", model))
    return Reading(encoder, SplitOptions(call=lambda model, pixels: model(pixels).last_hidden_state))


def _prompted(source: Source, model: Any) -> Reading:
    prompts = source.name.listed("prompts")
    if not prompts:
        raise ConfigError(f"Operator '{source.name}' answers to texts: give prompts=a cup,a table.")
    tokens = _tokens(source, prompts)
    with torch.no_grad():
        embeddings = model.get_conditional_embeddings(batch_size=len(prompts), **tokens)

    def call(model: nn.Module, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 prompt height width"]:
        each = embeddings.to(pixels.device).split(1)
        return torch.cat([model(pixel_values=pixels, conditional_embeddings=one).logits for one in each])[None]

    if len(prompts) == 1:
        return Reading(model, SplitOptions(prediction="scalar", quantity="label", call=call, finish=torch.sigmoid))
    return Reading(model, SplitOptions(prediction="labels", quantity="label", call=call, label_names=prompts))


def _tokens(source: Source, prompts: Sequence[str]) -> dict[str, Tensor]:
    """Return the tokens of prompts: of the model's tokenizer, or their bytes for a built-in configuration."""
    if source.folder is None:
        text = source.config.text_config
        ends = (text.bos_token_id, text.eos_token_id)
        rows = [[ends[0], *prompt.encode()[: text.max_position_embeddings - 2], ends[1]] for prompt in prompts]
        longest = max(map(len, rows))
        padded = [row + [ends[1]] * (longest - len(row)) for row in rows]
        kept = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        return {"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(kept)}
    # transformers makes up an empty tokenizer where there is none.
    if not any((source.folder / file).is_file() for file in _TOKENIZERS):
        raise ConfigError(
            f"Operator '{source.name}': there is no tokenizer in '{source.folder}'; expected "
            f"{' or '.join(_TOKENIZERS)}."
        )
    try:
        with quiet():
            tokenizer = library().AutoTokenizer.from_pretrained(source.folder, local_files_only=True)
            found = tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
    except Exception as error:  # Tokenizers fail in whatever way they like.
        raise ConfigError(f"Operator '{source.name}': its tokenizer does not read: {error}") from error
    return {key: found[key] for key in ("input_ids", "attention_mask")}


@dataclass(frozen=True, slots=True)
class Task:
    """How a task's models are read, the auto class of most, its list of their classes, and the classes of others."""

    read: Callable[[Source, Any], Reading]
    auto_class: str = ""
    listed: str = ""
    classes: Mapping[str, str] = field(default_factory=dict)


TASKS = {
    "semantic-segmentation": Task(
        _segmentation,
        "AutoModelForSemanticSegmentation",
        "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES",
        _MASK_CLASSIFIERS,
    ),
    "depth-estimation": Task(_depth, "AutoModelForDepthEstimation", "MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES"),
    "image-to-image": Task(_restoration, "AutoModelForImageToImage", "MODEL_FOR_IMAGE_TO_IMAGE_MAPPING_NAMES"),
    "mask-generation": Task(_features, "AutoModelForMaskGeneration", "MODEL_FOR_MASK_GENERATION_MAPPING_NAMES"),
    "zero-shot-segmentation": Task(_prompted, classes={"clipseg": "CLIPSegForImageSegmentation"}),
    "image-feature-extraction": Task(_features, "AutoModel", "MODEL_MAPPING_NAMES"),
}
