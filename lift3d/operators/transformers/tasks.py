"""How models of transformers answer: per task, how a model is run, where it is cut, and what its answer means."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lift3d.domain.lifted import PredictionKind
from lift3d.errors import ConfigError
from lift3d.operators.split.model import SplitOptions
from lift3d.operators.transformers.weights import Source, library, quiet

# Architectures that give masks with classes, and the classes of transformers that are them.
MASK_CLASSIFIERS = {
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
    cuts: tuple[str, ...]
    options: SplitOptions


def _segmentation(source: Source, model: Any) -> Reading:
    is_masks = source.config.model_type in MASK_CLASSIFIERS
    return Reading(
        model,
        ("output",),
        SplitOptions(
            prediction="labels",
            quantity="label",
            call=_class_scores if is_masks else lambda model, pixels: model(pixels).logits,
            label_names=_label_names(source.config),
        ),
    )


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
    return Reading(
        model,
        ("output",),
        SplitOptions(
            prediction="scalar",
            quantity="depth" if is_metric else "disparity",
            call=lambda model, pixels: model(pixels).predicted_depth,
        ),
    )


def _restoration(source: Source, model: Any) -> Reading:
    config = source.config
    # Its first layers and the image itself are joined again behind the last hidden map of some.
    adds = getattr(config, "upsampler", "pixelshuffle") in _ADDS_TO_IMAGE
    return Reading(
        model,
        (f"{config.model_type}:last_hidden_state", *(("input",) if adds else ())),
        SplitOptions(
            prediction="image",
            call=lambda model, pixels: model(pixels).reconstruction,
            enlarges=int(getattr(config, "upscale", 1)),
            restores=True,
        ),
    )


def _features(source: Source, model: Any) -> Reading:
    # Models that take prompts or texts as well have a part for images.
    encoder = getattr(model, "vision_encoder", getattr(model, "vision_model", model))
    return Reading(encoder, ("output",), SplitOptions(call=_last_hidden_state))


def _last_hidden_state(model: nn.Module, pixels: Float[Tensor, "1 3 height width"]) -> Tensor:
    found: Tensor = model(pixels).last_hidden_state
    return found


def _prompted(source: Source, model: Any) -> Reading:
    prompts = tuple(one.strip() for one in source.name.option("prompts", "").split(",") if one.strip())
    if not prompts:
        raise ConfigError(f"Operator '{source.name}' answers to texts: give prompts=a cup,a table.")
    tokens = _tokens(source, prompts)
    with torch.no_grad():
        embeddings = model.get_conditional_embeddings(batch_size=len(prompts), **tokens)

    def call(model: nn.Module, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 prompt height width"]:
        each = embeddings.to(pixels.device).split(1)
        return torch.cat([model(pixel_values=pixels, conditional_embeddings=one).logits for one in each])[None]

    kind: PredictionKind = "scalar" if len(prompts) == 1 else "labels"
    return Reading(
        model,
        ("output",),
        SplitOptions(
            prediction=kind,
            quantity="label",
            call=call,
            finish=torch.sigmoid if kind == "scalar" else None,
            label_names=prompts if kind == "labels" else (),
        ),
    )


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


# What a model's own name of a task is read by.
READINGS: dict[str, Callable[[Source, Any], Reading]] = {
    "semantic-segmentation": _segmentation,
    "depth-estimation": _depth,
    "image-to-image": _restoration,
    "mask-generation": _features,
    "zero-shot-segmentation": _prompted,
    "image-feature-extraction": _features,
}
