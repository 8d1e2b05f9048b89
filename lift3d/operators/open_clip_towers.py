"""Image towers of CLIP models, made dense: every cell gets an embedding in the space shared with text.

A tower gives one embedding per image by pooling. Cells get theirs as if each were pooled alone: in a
transformer the last block's attention is replaced by its value projection, so that a token attends to itself
only; in a convolutional network the head is applied to each cell.

Source:
    Zhou, Loy & Dai, Extract Free Dense Labels from CLIP, ECCV 2022, §3.2 (the value path).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.errors import ConfigError, ContractError
from lift3d.operators.cell_lattice import CellLattice, measure_lattice
from lift3d.torchvision_guard import ensure_torchvision

ensure_torchvision()
from open_clip.timm_model import TimmModel  # noqa: E402  (torchvision must be importable first)
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer  # noqa: E402

# An odd multiple of the stride of 32 that convolutional towers have.
_PROBE_SIZE_PX = (160, 224)


def dense_tower(visual: nn.Module) -> "_TransformerTower | _ConvolutionalTower":
    """Make an image tower dense: ``embed`` gives the cells' embeddings and the image's; ConfigError if it cannot be."""
    if isinstance(visual, VisionTransformer):
        return _TransformerTower(visual)
    if isinstance(visual, TimmModel):
        return _ConvolutionalTower(visual)
    raise ConfigError(
        f"Image tower {type(visual).__name__} has no dense form here; expected a vision transformer of "
        "open_clip's own or a convolutional network of timm's, e.g. ViT-B-16 or convnext_base_w."
    )


class _TransformerTower:
    """A vision transformer with class token; the last block's value path gives the cells."""

    def __init__(self, visual: VisionTransformer) -> None:
        last = visual.transformer.resblocks[-1]
        if visual.attn_pool is not None or type(last) is not ResidualAttentionBlock:
            raise ConfigError(
                "This image tower pools by attention over learned queries or has blocks of its own; the "
                "value path needs plain blocks and a class token or a mean, e.g. ViT-B-16."
            )
        self._visual = visual
        patch = int(visual.patch_size[0])
        self.lattice = CellLattice(patch, patch / 2)
        self.channel_count = int(visual.proj.shape[1])

    def embed(
        self, pixels: Float[Tensor, "image 3 height width"]
    ) -> tuple[Float[Tensor, "image channel row col"], Float[Tensor, "image channel"]]:
        visual = self._visual
        patches = visual.conv1(pixels)
        rows, cols = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([visual.class_embedding.expand(len(tokens), 1, -1), tokens], dim=1)
        tokens = visual.ln_pre(tokens + self._positions(rows, cols))
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            tokens = block(tokens)
        pooled, _ = visual._pool(last(tokens))
        cells = visual.ln_post(_value_path(last, tokens[:, 1:])) @ visual.proj
        return cells.mT.reshape(len(cells), -1, rows, cols), pooled @ visual.proj

    def _positions(self, rows: int, cols: int) -> Tensor:
        """Return the positional embedding of a grid, interpolated if it is not the trained one."""
        positions, trained = self._visual.positional_embedding, self._visual.grid_size
        if (rows, cols) == tuple(trained):
            return positions  # type: ignore[no-any-return]
        image = positions[1:].T.reshape(1, -1, *trained)
        image = functional.interpolate(image, (rows, cols), mode="bicubic", antialias=True, align_corners=False)
        return torch.cat([positions[:1], image.flatten(2)[0].T])


def _value_path(block: ResidualAttentionBlock, tokens: Float[Tensor, "image token width"]) -> Tensor:
    """Run a block with every token attending to itself alone."""
    width = tokens.shape[-1]
    weight, bias = block.attn.in_proj_weight[2 * width :], block.attn.in_proj_bias[2 * width :]
    values = block.attn.out_proj(functional.linear(block.ln_1(tokens), weight, bias))
    tokens = tokens + block.ls_1(values)
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))  # type: ignore[no-any-return]


class _ConvolutionalTower:
    """A convolutional network pooled by a mean; each cell goes through the head as an image of one cell."""

    def __init__(self, visual: TimmModel) -> None:
        self._visual = visual
        try:
            self.lattice, width = measure_lattice(
                visual.trunk, visual.trunk.forward_features, torch.zeros(1, 3, *_PROBE_SIZE_PX)
            )
            cells, _ = self.embed(torch.zeros(1, 3, *_PROBE_SIZE_PX))
        except (AssertionError, RuntimeError, IndexError, ContractError) as error:  # A size that it refuses.
            raise self._refusal(str(error)) from error
        if width != visual.trunk.num_features:
            raise self._refusal(f"its features have no channel axis of {visual.trunk.num_features}")
        self.channel_count = int(cells.shape[1])

    def embed(
        self, pixels: Float[Tensor, "image 3 height width"]
    ) -> tuple[Float[Tensor, "image channel row col"], Float[Tensor, "image channel"]]:
        features = self._visual.trunk.forward_features(pixels)
        rows, cols = features.shape[-2:]
        singles = features.flatten(2).mT.flatten(0, 1)[:, :, None, None]
        cells = self._head(singles).reshape(len(features), rows * cols, -1)
        return cells.mT.reshape(len(features), -1, rows, cols), self._head(features)

    def _head(self, features: Float[Tensor, "image channel row col"]) -> Tensor:
        return self._visual.head(self._visual.trunk.forward_head(features))  # type: ignore[no-any-return]

    def _refusal(self, cause: str) -> ConfigError:
        return ConfigError(
            f"Image tower {type(self._visual.trunk).__name__} has no dense form here ({cause}); expected a "
            "convolutional network that pools by a mean, or a vision transformer of open_clip's own."
        )
