"""What may be said of a pixel of the family ``objects``: captions of words, and which of them fit."""

from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.operators.tiny.image_text import words_of
from lift3d.synthetic.objects import COLORS, MATERIALS, OBJECT_LABELS, PAIRS, SHAPES, SURROUNDINGS, WITHHELD_PAIRS
from lift3d.synthetic.world import Pattern

# What relevancy is measured against, after LERF (ICCV 2023).
CANONICAL_NEGATIVES = ("object", "things", "stuff", "texture")
_THING_WORDS, _SURFACE_WORDS = "object things", "stuff background"
_PATTERNS = (Pattern.PLAIN, Pattern.STRIPES, Pattern.CHECKS, Pattern.BRICKS)
_PAIRS = tuple(pair for pair in PAIRS if pair not in WITHHELD_PAIRS)
# Captions that are told apart from one another; what says less than a name is among the names, to be outdone by them.
KINDS: dict[str, tuple[str, ...]] = {
    "color": COLORS,
    "shape": (*SHAPES, *SURROUNDINGS),
    "material": MATERIALS,
    "pair": (*(f"{color} {shape}" for color, shape in _PAIRS), *SURROUNDINGS, *CANONICAL_NEGATIVES, "background"),
    "color and material": tuple(" ".join(words) for words in product(COLORS, MATERIALS)),
    "material and shape": tuple(" ".join(words) for words in product(MATERIALS, SHAPES)),
    "all": tuple(f"{material} {color} {shape}" for material, (color, shape) in product(MATERIALS, _PAIRS)),
    "general": (*CANONICAL_NEGATIVES, "background"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """Captions of one kind.

    Attributes:
        has_word: Which words of the vocabulary each has.
        fits: Whether a caption fits a pixel, by the pixel's class and pattern.
    """

    has_word: Float[Tensor, "caption word"]
    fits: Bool[Tensor, "label pattern caption"]


def captions_of(kind: str) -> Captions:
    """Return the captions of a kind; those that say less than a pixel's name do not fit beside the name.

    Args:
        kind: One of KINDS.
    """
    prompts = KINDS[kind]
    has_word = words_of(prompts)
    pixel_words = torch.stack([torch.stack([_said_of(name, pattern) for pattern in Pattern]) for name in OBJECT_LABELS])
    # A caption fits if the pixel has all of its words.
    fits = pixel_words @ has_word.T == has_word.sum(1)
    if kind == "pair":
        is_name = torch.tensor([prompt not in (*CANONICAL_NEGATIVES, "background") for prompt in prompts])
        fits = fits & is_name
    return Captions(has_word, fits)


def _said_of(name: str, pattern: Pattern) -> Float[Tensor, " word"]:
    if name in SURROUNDINGS:
        said = f"{name} {_SURFACE_WORDS}"
    else:
        material = MATERIALS[_PATTERNS.index(pattern)] if pattern in _PATTERNS else ""
        said = f"{name} {material} {_THING_WORDS}"
    has_word: Tensor = words_of([said])[0]
    return has_word
