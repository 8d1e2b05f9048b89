"""Answers that files hold: read as they are for the view they belong to, refused where they do not fit."""

import cv2
import numpy as np
import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.errors import ConfigError, ContractError, SceneError
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import PrecomputedOperator
from lift3d.results.opened import open_lifted
from tests.support.runs import run_into, small_recipe

SIZE = ImageSize(24, 32)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for view in ("0000", "0001"):
        for name in ("mug", "book"):
            cv2.imwrite(str(tmp_path / f"{view}.{name}.png"), rng.integers(0, 2**16, (48, 64)).astype(np.uint16))
        np.save(tmp_path / f"{view}.npy", rng.normal(size=(24, 32)).astype(np.float32))
    return tmp_path


def test_channels_are_names_and_integers_are_shares(folder):
    operator = build_operator(f"files:{folder}?pattern={{view}}.{{name}}.png&names=mug,book")
    assert isinstance(operator, PrecomputedOperator)
    (features,) = operator.read("0001", ImageSize(48, 64))
    stored = cv2.imread(str(folder / "0001.book.png"), cv2.IMREAD_UNCHANGED) / np.float32(65535)
    torch.testing.assert_close(features.values[1], torch.from_numpy(stored.astype(np.float32)))
    (half,) = operator.read("0001", SIZE)
    assert (half.grid.rows, half.grid.stride_u) == (24, 1)
    assert half.values.mean() == pytest.approx(float(features.values.mean()), abs=0.01)
    masks = operator.decode((half,), EMPTY_STATE, SIZE)
    assert masks.kind == "masks"
    assert torch.equal(masks.values, half.values)
    assert operator.spec.label_names == ("mug", "book")


def test_numbers_are_read_as_they_are_and_the_digest_is_of_the_files(folder):
    name = f"files:{folder}?pattern={{view}}.npy"
    operator = build_operator(name)
    (features,) = operator.read("0000", SIZE)
    assert torch.equal(features.values[0], torch.from_numpy(np.load(folder / "0000.npy")))
    assert operator.decode((features,), EMPTY_STATE, SIZE).kind == "scalar"
    assert build_operator(name).spec.weights_digest == operator.spec.weights_digest
    np.save(folder / "0001.npy", np.zeros((24, 32), np.float32))
    assert build_operator(name).spec.weights_digest != operator.spec.weights_digest


def test_pictures_are_read_in_colour_and_lifted_as_pictures(folder, tmp_path):
    for view in range(6):
        flat = np.full((24, 32, 3), (20 * view, 100, 200), np.uint8)
        cv2.imwrite(str(folder / f"{view:04d}.edit.png"), flat)
    name = f"files:{folder}?pattern={{view}}.edit.png&kind=image"
    operator = build_operator(name)
    (features,) = operator.read("0003", SIZE)
    # OpenCV writes blue first.
    assert torch.allclose(features.values[:, 5, 5], torch.tensor([200, 100, 60]) / 255)
    with pytest.raises(SceneError, match="expected one channel in the proportions"):
        build_operator(f"files:{folder}?pattern={{view}}.edit.png").read("0003", SIZE)
    recipe = small_recipe(scenes=["procedural:room?views=6&height=24&width=32"], operators=[name], image_height=24)
    (scene,) = run_into(str(tmp_path / "store"), recipe)
    assert [one.reason for one in scene.lifted] == [""] * len(scene.lifted)
    lifted = open_lifted(str(tmp_path / "store"))
    blue = torch.stack([lifted.view(target).prediction.values[2].mean() for target in lifted.targets])
    plain = torch.stack([lifted.plain(target).prediction.values[2].mean() for target in lifted.targets])
    assert blue.std() < 0.5 * plain.std()


def test_what_does_not_fit_is_said(folder):
    with pytest.raises(ConfigError, match="There is no file"):
        build_operator(f"files:{folder}?pattern={{view}}.jpg")
    for name, values in {"[9]": np.zeros((24, 0)), "[8]": np.ones((24, 32), complex), "[7]": np.array("a")}.items():
        np.save(folder / f"{name}.npy", values)
        with pytest.raises(SceneError, match="not real numbers"):
            build_operator(f"files:{folder}?pattern={name[:2]}{{view}}.npy").read(name[2:], SIZE)
    operator = build_operator(f"files:{folder}?pattern={{view}}.npy")
    with pytest.raises(SceneError, match="of view '0007' cannot be read"):
        operator.read("0007", SIZE)
    with pytest.raises(SceneError, match="in the proportions"):
        operator.read("0000", ImageSize(32, 24))
    with pytest.raises(ContractError, match="files of views"):
        operator.encode(torch.zeros(3, 24, 32))


def test_a_run_lifts_them_and_no_picture_is_shown(folder, tmp_path):
    for view in range(6):
        np.save(folder / f"{view:04d}.npy", np.full((24, 32), view / 5, np.float32))
    recipe = small_recipe(
        scenes=["procedural:room?views=6&height=24&width=32"],
        operators=[f"files:{folder}?pattern={{view}}.npy"],
        lifters=["anchored", "lift3d"],
        image_height=24,
    )
    (scene,) = run_into(str(tmp_path / "store"), recipe)
    assert [one.reason for one in scene.lifted] == ["", "", ""]
