"""Hypothesis strategies for cameras: any rotation (near-identity ones too), off-centre principal points."""

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lift3d.domain.camera import Camera, ImageSize


@st.composite
def rotations(draw):
    axis = np.array([draw(st.floats(-1, 1)) for _ in range(3)]) + np.array([0.0, 0.0, 1e-3])
    angle = draw(st.sampled_from([0.0, 1e-9, 1e-6, 1e-3]) | st.floats(0, 3.14))
    return torch.from_numpy(Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle).as_matrix())


@st.composite
def rigid_transforms(draw, reach: float = 3.0):
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, :3] = draw(rotations())
    w2c[:3, 3] = torch.tensor([draw(st.floats(-reach, reach)) for _ in range(3)])
    return w2c


@st.composite
def cameras(draw):
    size = ImageSize(draw(st.integers(8, 400)), draw(st.integers(8, 400)))
    focal = draw(st.floats(0.5, 3.0)) * size.width
    K = torch.tensor(
        [
            [focal, draw(st.floats(-2, 2)), draw(st.floats(0.2, 0.8)) * size.width],
            [0, focal * draw(st.floats(0.8, 1.2)), draw(st.floats(0.2, 0.8)) * size.height],
            [0, 0, 1],
        ],
        dtype=torch.float64,
    )
    return Camera(K, draw(rigid_transforms()), size)


@st.composite
def pixels(draw, camera: Camera, count: int = 5):
    unit = torch.tensor([[draw(st.floats(0, 1)), draw(st.floats(0, 1))] for _ in range(count)], dtype=torch.float64)
    return unit * torch.tensor([camera.size.width, camera.size.height], dtype=torch.float64)
