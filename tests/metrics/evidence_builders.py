"""Evidence with closed-form answers: a plane seen by a row of cameras, predicted by functions of its points."""

from dataclasses import replace

import torch

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.lifted import LiftedFeatures, LiftedView, Prediction
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells
from lift3d.metrics.correspondence import correspond
from lift3d.metrics.depth_surface import DepthSurface
from lift3d.metrics.protocol import SceneEvidence, ViewEvidence
from tests.support.scenes import textured_plane_scene

STRIDE = 4.0
KINDS = ("labels", "image", "scalar", "embedding", "masks")
# Quantities whose metrics know what they mean, and the kind of prediction they come as.
KIND_OF = {"depth": "scalar", "disparity": "scalar", "direction": "embedding", "instance": "masks"}
ANSWERS = (*KINDS, *KIND_OF)


def quantity_of(answer):
    return answer if answer in KIND_OF else "invariant"


def frames_of(view_count=4, baseline=0.12, slant=0.0):
    scene = textured_plane_scene(view_count, baseline=baseline, slant=slant)
    return [view.load() for view in scene.views]


def world_of_pixels(frame, uv):
    """The surface point under each pixel; depth is read at the pixel that holds it."""
    z_depth = frame.z_depth.reshape(-1)[nearest_cells(uv, *frame.z_depth.shape)].double()
    return transform(frame.camera.c2w, unproject(uv.double(), z_depth, frame.camera.K))


def oracle_features(frame, channel_count=6):
    """Smooth functions of the world point under each cell: the same from every view."""
    rows, cols = frame.camera.size.height // 4, frame.camera.size.width // 4
    grid = FeatureGrid(rows, cols, STRIDE, STRIDE)
    uv = cell_centers(rows, cols, (STRIDE, STRIDE)).reshape(-1, 2)
    xyz = world_of_pixels(frame, uv)
    frequency = torch.linspace(0.5, 2.0, channel_count, dtype=torch.float64)
    values = torch.stack([(w * xyz[:, 0] + (1 + w) * xyz[:, 1] + w * w).sin() for w in frequency])
    return FeatureMap(values.float().reshape(channel_count, rows, cols), grid)


def oracle_prediction(frame, kind):
    """A prediction that depends on the world point alone, affine in it where it is read bilinearly.

    For a quantity of KIND_OF: the truth of it, as this camera has it.
    """
    if kind in KIND_OF:
        return Prediction(KIND_OF[kind], *_truth(frame, kind))
    height, width = frame.camera.size.height, frame.camera.size.width
    uv = cell_centers(height, width).reshape(-1, 2)
    x, y = (world_of_pixels(frame, uv)[:, axis].reshape(height, width).float() for axis in (0, 1))
    is_valid = torch.ones(height, width, dtype=torch.bool)
    if kind == "labels":
        return Prediction(kind, (x > 0).long() + 2 * (y > 0).long(), is_valid)
    if kind == "image":
        return Prediction(kind, torch.stack([0.5 + 0.2 * x, 0.5 + 0.2 * y, 0.5 - 0.1 * x]), is_valid)
    if kind == "scalar":
        return Prediction(kind, 3.0 + x, is_valid)
    if kind == "masks":
        return Prediction(kind, torch.stack([0.5 + 0.2 * x, 0.5 + 0.2 * y]), is_valid)
    features = oracle_features(frame)
    return Prediction(kind, features.values.clone(), torch.ones(features.grid.rows, features.grid.cols).bool())


def _truth(frame, quantity):
    """The plane's own depth, normal (it faces the cameras) or instance, and a validity of it."""
    if quantity == "direction":
        grid = oracle_features(frame).grid
        normal = frame.camera.w2c[:3, :3] @ torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
        return normal.float()[:, None, None].repeat(1, grid.rows, grid.cols), torch.ones(grid.rows, grid.cols).bool()
    if quantity == "instance":
        number = torch.arange(int(frame.instances.max()) + 2)[:, None, None]
        return (frame.instances == number).float(), torch.ones_like(frame.is_valid)
    return (1 / frame.z_depth if quantity == "disparity" else frame.z_depth.clone()), torch.ones_like(frame.is_valid)


def lifted_view(frame, target, features, prediction, coverage=1.0):
    rows, cols = features.grid.rows, features.grid.cols
    lifted = LiftedFeatures(features, torch.full((rows, cols), coverage), torch.full((rows, cols), torch.nan))
    return LiftedView(target, frame.camera, (lifted,), prediction, ("s",))


def view_evidence(frame, kind="image", target="v0", lifted=None, features=None, counts=None):
    """Evidence of one view: the oracle against itself, unless a prediction, features or counts are given.

    ``kind`` is of ANSWERS.
    """
    plain = lifted_view(frame, target, oracle_features(frame), oracle_prediction(frame, kind))
    features = plain.lifted[0].features if features is None else features
    ours = lifted_view(frame, target, features, plain.prediction if lifted is None else lifted)
    counts = frame.is_valid if counts is None else counts
    return ViewEvidence(ours, plain, frame, (features,), counts, quantity_of(kind))


def scene_evidence(frames, views):
    found = correspond(DepthSurface(frames))
    return SceneEvidence(views, found.matches, found.observations)


def oracle_scene(kind="image", **scene):
    frames = frames_of(**scene)
    return scene_evidence(frames, [view_evidence(frame, kind, f"v{i}") for i, frame in enumerate(frames)])


def with_border_uncounted(evidence, margin=2):
    """Leave out a border, where bilinear reading holds the border value."""
    counts = torch.zeros_like(evidence.counts)
    counts[margin:-margin, margin:-margin] = True
    return replace(evidence, counts=counts)


def replaced(evidence, prediction=None, features=None):
    """The same evidence with another lifted prediction or other lifted features."""
    features = evidence.filled[0] if features is None else features
    prediction = evidence.lifted.prediction if prediction is None else prediction
    ours = lifted_view(evidence.frame, evidence.lifted.target, features, prediction)
    return replace(evidence, lifted=ours, filled=(features,))


def with_predictions(scene, change):
    """The same scene with other predicted values: ``change`` gets those of a view, and the view's number."""
    predictions = [view.lifted.prediction for view in scene.views]
    others = [replace(one, values=change(one.values, number)) for number, one in enumerate(predictions)]
    return replace(scene, views=[replaced(*pair) for pair in zip(scene.views, others, strict=True)])


def with_noise(evidence, sigma, seed=0):
    """Add noise to prediction and features of the lifted side; labels are replaced at random."""
    generator = torch.Generator().manual_seed(seed)
    prediction = evidence.lifted.prediction
    if prediction.kind == "labels":
        other = torch.randint(0, 4, prediction.values.shape, generator=generator)
        is_hit = torch.rand(prediction.values.shape, generator=generator) < sigma
        values = torch.where(is_hit, other, prediction.values)
    else:
        values = prediction.values + sigma * torch.randn(prediction.values.shape, generator=generator)
    features = evidence.filled[0]
    noisy = FeatureMap(features.values + sigma * torch.randn(features.values.shape, generator=generator), features.grid)
    return replaced(evidence, Prediction(prediction.kind, values, prediction.is_valid), noisy)


def noisy_scene(scene, sigma):
    return replace(scene, views=[with_noise(view, sigma, number) for number, view in enumerate(scene.views)])
