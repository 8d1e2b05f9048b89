"""Training of ``tiny:segmenter``: cross entropy at pixels of the computed scenes that have the house's classes."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.tiny.hourglass import STRIDE_PX
from lift3d.operators.tiny.segmenter import CLASS_NAMES, SegmentationNetwork, TinySegmenter
from lift3d.training.tiny.card import write_card
from lift3d.training.tiny.descent import descend, save_rounded
from lift3d.training.tiny.pixel_batches import draw_batch, features_at
from lift3d.training.tiny.recognition_figures import evaluation_scenes, measure_color_histogram, measure_segmenter
from lift3d.training.tiny.scene_pictures import ScenePicture, Shot, training_pictures

STEPS = 1000
FAMILIES = ("room", "tabletop", "shelf", "street", "forest")
_RATE = 2e-3
_PICTURES, _PIXELS = 8, 400
SEEDS, _SHOT = range(40), Shot(views=3, height=96)


def train(out: Path, steps: int | None, seed: int) -> None:
    """Train, measure, and write the weights and the card beside them.

    Args:
        out: A .safetensors file.
        steps: Optimiser steps; None for as many as the packaged weights had.
        seed: Of initial weights, batches and their changes of light.
    """
    count = STEPS if steps is None else steps
    pictures = [picture for family in FAMILIES for picture in training_pictures(family, SEEDS, _SHOT)]
    generator = torch.Generator().manual_seed(seed)
    start = time.process_time()
    with seeded(seed):
        network = SegmentationNetwork()
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of(step: int) -> Tensor:
        batch = draw_batch(pictures, _PICTURES, _PIXELS, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(batch.images)
        loss: Tensor = functional.cross_entropy(features_at(logits.float(), batch), batch.labels)
        return loss

    descend(network.parameters(), loss_of, count, _RATE)
    seconds = time.process_time() - start
    save_rounded(network, out)
    _write_card(out, network, pictures, (count, seconds, seed))


def _write_card(
    out: Path, network: SegmentationNetwork, pictures: Sequence[ScenePicture], run: tuple[int, float, int]
) -> None:
    scenes = [scene for family in FAMILIES for scene in evaluation_scenes(family)]
    found = measure_segmenter(TinySegmenter(OperatorName("tiny", "segmenter"), network), scenes)
    plain = measure_color_histogram(pictures, scenes)
    write_card(
        out.with_suffix(".md"),
        "tiny:segmenter",
        f"Semantic segmentation of {len(CLASS_NAMES)} classes of computed scenes: a U-Net without statistics over the "
        f"image, whose logits of cells of {STRIDE_PX} pixels are lifted.",
        f"{len(pictures)} pictures of {_SHOT.height}×{_SHOT.height * 4 // 3} pixels of the computed scenes "
        f"{', '.join(FAMILIES)}, seeds 0 to {max(SEEDS)}, under changed light and mirrored. No captured picture.",
        "lift3d train-tiny segmenter",
        *run,
        {
            "mIoU, 8 scenes of each family that were not trained on, mean over scenes": (
                found.mean_iou,
                f"the class that training pictures most often show in this colour (8×8×8 bins): {plain.mean_iou:.3f}",
            )
        },
        [
            "It knows computed scenes alone: on captured pictures its answers mean nothing, though they are answers.",
            "Things thinner than a cell of 4 pixels are often missed.",
            "Classes tend to have their own hues in these scenes, and it relies on that.",
        ],
    )
