"""Dense image features in a space shared with text, over two dozen words: ``tiny:clip``.

Words of colours and all other words have channels of their own. Those of colours are told by a network that sees one
cell; the others by a network that sees the largest and the smallest colour channel of each pixel, which say nothing
of its hue. So that a colour and a shape never stood together in training cannot be learned, and they are named
together as easily as any other two.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.errors import ConfigError
from lift3d.operators.answers import Encoder
from lift3d.operators.names import OperatorName
from lift3d.operators.tiny.picture_cells import TinyOperator
from lift3d.operators.tiny.u_nets import MULTIPLE_PX, STRIDE_PX, Hourglass

_COLORS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
VOCABULARY = (
    *_COLORS,
    *("box", "ball", "cylinder"),
    *("plain", "striped", "checkered", "bricked"),
    *("floor", "wall", "ceiling", "table"),
    *("object", "things", "stuff", "texture", "background"),
)
# Words that say nothing here.
_FILLERS = ("a", "an", "the", "of", "and", "with")
_COLOR_CHANNELS, _OTHER_CHANNELS = 16, 32


class TextEncoder(nn.Module):
    """Words as vectors; a prompt is the direction of the sum of its words, in any order."""

    def __init__(self) -> None:
        super().__init__()
        other_count = len(VOCABULARY) - len(_COLORS)
        self.colors = nn.Parameter(torch.randn(len(_COLORS), _COLOR_CHANNELS) / _COLOR_CHANNELS**0.5)
        self.others = nn.Parameter(torch.randn(other_count, _OTHER_CHANNELS) / _OTHER_CHANNELS**0.5)

    def forward(self, has_word: Float[Tensor, "prompt word"]) -> Float[Tensor, "prompt channel"]:
        """Return unit vectors of prompts, given which words each has."""
        count = len(_COLORS)
        summed = torch.cat([has_word[:, :count] @ self.colors, has_word[:, count:] @ self.others], dim=1)
        return functional.normalize(summed, dim=-1)


class ImageEncoder(nn.Module):
    """Unit vectors of cells of 4 pixels: a part from the cell's colour, and a part from shapes without hue."""

    def __init__(self) -> None:
        super().__init__()
        self.others = Hourglass(2, _OTHER_CHANNELS)
        self.colors = nn.Sequential(
            nn.Conv2d(3, 32, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(32, 48, STRIDE_PX // 2, stride=STRIDE_PX // 2),
            nn.ReLU(),
            nn.Conv2d(48, 48, 1),
            nn.ReLU(),
            nn.Conv2d(48, _COLOR_CHANNELS, 1),
        )

    def forward(self, pixels: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image channel row col"]:
        """Return the cells' unit vectors; height and width are multiples of 32."""
        extremes = torch.stack([pixels.amax(1), pixels.amin(1)], dim=1)
        cells = torch.cat([self.colors(2 * pixels - 1), self.others(2 * extremes - 1)], dim=1)
        return functional.normalize(cells, dim=1)


class ImageTextPair(nn.Module):
    """Both encoders."""

    def __init__(self) -> None:
        super().__init__()
        self.image = ImageEncoder()
        self.text = TextEncoder()


def words_of(prompts: Sequence[str]) -> Float[Tensor, "prompt word"]:
    """Return which words of the vocabulary each prompt has; ConfigError if it has others, or none."""
    has_word = torch.zeros(len(prompts), len(VOCABULARY))
    known = ", ".join(VOCABULARY)
    for row, prompt in enumerate(prompts):
        words = [word for word in prompt.lower().replace(",", " ").split() if word not in _FILLERS]
        unknown = [word for word in words if word not in VOCABULARY]
        if unknown:
            raise ConfigError(f"Prompt '{prompt}' has words that tiny:clip does not know: {unknown}; it knows {known}.")
        if not words:
            raise ConfigError(f"Prompt '{prompt}' says nothing; expected at least one word of: {known}.")
        has_word[row, [VOCABULARY.index(word) for word in words]] = 1
    return has_word


class TinyClip(TinyOperator, Encoder):
    """Unit vectors of cells of 4 pixels, to be compared with those of prompts."""

    def __init__(self, name: OperatorName, pair: ImageTextPair) -> None:
        channels = _COLOR_CHANNELS + _OTHER_CHANNELS
        super().__init__(name, pair, STRIDE_PX, channels, MULTIPLE_PX, prediction_kind="embedding")

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "prompt channel"]:
        """Return unit vectors of prompts like "a red ball" in the space of the image features; see ``words_of``."""
        with torch.no_grad():
            embedded: Tensor = self._network.text(words_of(prompts).to(self._network.text.colors.device))
        return embedded

    def _cells(self, pixels: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image channel row col"]:
        cells: Tensor = self._network.image(pixels)
        return cells
