"""Training of ``tiny:clip``: captions of pixels, of every length, against the pixels they fit.

A pixel of a thing is described by its colour, its shape, its material, or several of them at once; a pixel of a
surface by its name. The contrast is among all captions of one kind, and against words that say less, so that a
prompt is nearer than those where it fits and farther where it does not. Captions of withheld pairs are never
used, and no training picture shows one.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.tiny.image_text import VOCABULARY, ImageTextPair, TinyClip, words_of
from lift3d.operators.tiny.u_nets import STRIDE_PX
from lift3d.synthetic.objects import EVALUATION_SEEDS, WITHHELD_PAIRS
from lift3d.training.tiny.captions import CANONICAL_NEGATIVES, KINDS, captions_of
from lift3d.training.tiny.pixel_batches import WINDOW_PX, PixelBatch, draw_batch, features_at
from lift3d.training.tiny.recognition_figures import evaluation_scenes, measure_clip, measure_named_colors
from lift3d.training.tiny.scene_pictures import Shot, training_pictures
from lift3d.training.tiny.train import Figures, Phase, TinyTraining

_STEPS = 1700
_PICTURES, _PIXELS = 8, 320
SHOTS = (
    (range(0, 110), Shot(height=96, fov_deg=62.0)),
    (range(110, 170), Shot(height=96, fov_deg=82.0, spacing=9.0)),
    (range(170, 250), Shot(height=128, fov_deg=62.0, spacing=6.0)),
    (range(250, 290), Shot(height=128, fov_deg=46.0, spacing=6.0)),
)
# Cosines are sharpened by this at most, as in CLIP (Radford et al., ICML 2021, §2.5, there 100).
_MAX_SCALE = 40.0
# How much the comparison with general words counts beside the contrast among captions of one kind.
_MARGIN_SHARE = 0.5


class _Contrast(nn.Module):
    """The loss, with its temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(12.0)))
        self.captions = {kind: captions_of(kind) for kind in KINDS}
        self.general = words_of(CANONICAL_NEGATIVES)

    def forward(self, pair: ImageTextPair, features: Float[Tensor, "pixel channel"], batch: PixelBatch) -> Tensor:
        """Return the loss of unit features at the batch's pixels."""
        scale = self.log_scale.exp().clamp(max=_MAX_SCALE)
        general = (scale * features @ pair.text(self.general).T).amax(1, keepdim=True)
        losses = []
        for kind, captions in self.captions.items():
            logits = scale * features @ pair.text(captions.has_word).T
            fits = captions.fits[batch.labels, batch.patterns]
            losses.append(_contrast(logits, fits))
            if kind not in ("general", "pair"):
                losses.append(_MARGIN_SHARE * _margin(logits - general, fits))
        return torch.stack(losses).sum()


def describe(seed: int) -> TinyTraining:
    """Return the training of a seed: of initial weights, batches and their changes of light."""
    pictures = [picture for seeds, shot in SHOTS for picture in training_pictures("objects", seeds, shot)]
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        pair, contrast = ImageTextPair(), _Contrast()
        pair.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of(step: int) -> Tensor:
        batch = draw_batch(pictures, _PICTURES, _PIXELS, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cells = pair.image(batch.images)
        features = features_at(cells.float(), batch)
        loss: Tensor = contrast(pair, functional.normalize(features, dim=1), batch)
        return loss

    shots = "; ".join(
        f"seeds {min(seeds)} to {max(seeds)}, {shot.views} views each, {shot.height} pixels high and {shot.fov_deg:g}°"
        for seeds, shot in SHOTS
    )
    withheld = ", ".join(" ".join(words) for words in WITHHELD_PAIRS)
    return TinyTraining(
        pair,
        [Phase([pair, contrast], loss_of)],
        steps=_STEPS,
        measure=lambda: _measure(pair),
        what=f'Dense image features of cells of {STRIDE_PX} pixels and prompts such as "a red ball" in one space, '
        f"over {len(VOCABULARY)} words: {', '.join(VOCABULARY)}.",
        data=f"Windows of {WINDOW_PX[0]}×{WINDOW_PX[1]} pixels of computed scenes `procedural:objects` ({shots}), "
        "under changed light and mirrored; captions of pixels by one to three words. The pairs "
        f"{withheld} are in no picture and no caption. No captured picture.",
        limits=(
            "It knows the words above and no others, and computed scenes alone: on captured pictures its answers mean "
            "nothing, though they are answers.",
            'A prompt is a set of words: order, counts, relations ("left of") and negation are not understood.',
            "Things of less than about two cells are often missed, and so are shapes of which little is seen.",
            "Colours of cells that show two things are mixtures, which may be named as a third colour.",
        ),
    )


def _contrast(logits: Float[Tensor, "pixel caption"], fits: Tensor) -> Tensor:
    """−log of the share of fitting captions, over pixels that any caption of the kind fits."""
    has_caption = fits.any(1)
    fitting = logits.masked_fill(~fits, -torch.inf)[has_caption].logsumexp(1)
    return (logits[has_caption].logsumexp(1) - fitting).mean()


def _margin(lead: Float[Tensor, "pixel caption"], fits: Tensor) -> Tensor:
    """Logistic loss of how far a caption leads the general words; fitting and others count alike."""
    return functional.softplus(-lead[fits]).mean() + functional.softplus(lead[~fits]).mean()


def _measure(pair: ImageTextPair) -> Figures:
    scenes = evaluation_scenes("objects")
    found, plain = measure_clip(TinyClip(OperatorName("tiny", "clip"), pair), scenes), measure_named_colors(scenes)
    where = f"{len(scenes)} scenes of seeds {min(EVALUATION_SEEDS)} to {max(EVALUATION_SEEDS)}, mean over scenes"
    beside = "the nearest of the colours that the names say, surfaces grey"
    return {
        f"mIoU of the nearest prompt, {where}": (found.mean_iou, f"{beside}: {plain.mean_iou:.3f}"),
        "IoU of the withheld pairs among them": (found.withheld_iou, f"{beside}: {plain.withheld_iou:.3f}"),
    }
