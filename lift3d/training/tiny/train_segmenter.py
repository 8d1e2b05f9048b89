"""Training of ``tiny:segmenter``: cross entropy at pixels of the computed scenes that have the house's classes."""

import torch
from torch import Tensor
from torch.nn import functional

from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.tiny.segmenter import CLASS_NAMES, SegmentationNetwork, TinySegmenter
from lift3d.operators.tiny.u_nets import STRIDE_PX
from lift3d.training.tiny.pixel_batches import draw_batch, features_at
from lift3d.training.tiny.recognition_figures import evaluation_scenes, measure_color_histogram, measure_segmenter
from lift3d.training.tiny.scene_pictures import FAMILIES, Shot, training_pictures
from lift3d.training.tiny.train import Figures, Phase, TinyTraining

_STEPS = 1000
_PICTURES, _PIXELS = 8, 400
SEEDS, _SHOT = range(40), Shot(views=3, height=96)


def describe(seed: int) -> TinyTraining:
    """Return the training of a seed: of initial weights, batches and their changes of light."""
    pictures = [picture for family in FAMILIES for picture in training_pictures(family, SEEDS, _SHOT)]
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        network = SegmentationNetwork()
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of(step: int) -> Tensor:
        batch = draw_batch(pictures, _PICTURES, _PIXELS, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(batch.images)
        loss: Tensor = functional.cross_entropy(features_at(logits.float(), batch), batch.labels)
        return loss

    def measure() -> Figures:
        scenes = [scene for family in FAMILIES for scene in evaluation_scenes(family)]
        found = measure_segmenter(TinySegmenter(OperatorName("tiny", "segmenter"), network), scenes).mean_iou
        plain = measure_color_histogram(pictures, scenes).mean_iou
        words = f"the class that training pictures most often show in this colour (8×8×8 bins): {plain:.3f}"
        return {"mIoU, 8 scenes of each family that were not trained on, mean over scenes": (found, words)}

    return TinyTraining(
        network,
        [Phase([network], loss_of)],
        steps=_STEPS,
        measure=measure,
        what=f"Semantic segmentation of {len(CLASS_NAMES)} classes of computed scenes: a U-Net without statistics over "
        f"the image, whose logits of cells of {STRIDE_PX} pixels are lifted.",
        data=f"{len(pictures)} pictures of {_SHOT.height}×{_SHOT.height * 4 // 3} pixels of the computed scenes "
        f"{', '.join(FAMILIES)}, seeds 0 to {max(SEEDS)}, under changed light and mirrored. No captured picture.",
        limits=(
            "It knows computed scenes alone: on captured pictures its answers mean nothing, though they are answers.",
            "Things thinner than a cell of 4 pixels are often missed.",
            "Classes tend to have their own hues in these scenes, and it relies on that.",
        ),
    )
