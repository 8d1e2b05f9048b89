"""Metashape's lens is COLMAP's by another name, components lie in one world, and its XML is data."""

import numpy as np
import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.errors import CameraError, SceneFormatError
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.metashape_lens import lens_of
from lift3d.scenes.undistortion import file_fractions
from tests.support import captures

SOURCE = captures.capture()
SIZE = ImageSize(480, 640)
FRAME = {"f": 700.0, "cx": 11.6, "cy": -7.7, "b1": 0.5, "k1": -0.09, "k2": 0.05, "p1": -3e-3, "p2": 1e-3}


def metashape(kind, c, x, y):
    """The manual's formulas."""
    r = np.hypot(x, y)
    if kind == "fisheye":
        x, y = (one * np.arctan(r) / r for one in (x, y))
    r2 = x * x + y * y
    radial = 1 + c.get("k1", 0) * r2 + c.get("k2", 0) * r2**2 + c.get("k3", 0) * r2**3 + c.get("k4", 0) * r2**4
    p1, p2 = c.get("p1", 0), c.get("p2", 0)
    xd = x * radial + p1 * (r2 + 2 * x * x) + 2 * p2 * x * y
    yd = y * radial + p2 * (r2 + 2 * y * y) + 2 * p1 * x * y
    u = SIZE.width / 2 + c["cx"] + xd * (c["f"] + c["b1"]) + yd * c.get("b2", 0)
    return u, SIZE.height / 2 + c["cy"] + yd * c["f"]


@pytest.mark.parametrize(
    ("kind", "more", "within"),
    [
        ("frame", {}, 1e-3),
        ("frame", {"k3": -0.02}, 1e-3),
        ("frame", {"f": 440.0, "k2": -0.076, "k3": 0.116, "k4": -0.076}, 0.01),
        ("fisheye", {"k3": -0.01, "k4": 0.002}, 1e-3),
        ("fisheye", {"p1": 0.0, "p2": 0.0}, 1e-3),
    ],
)
def test_pixels_lie_where_the_manual_has_them(kind, more, within):
    values = FRAME | more
    lens = lens_of(kind, SIZE, lambda name: values.get(name, 0.0))
    K = lens.K.numpy()
    places = file_fractions(lens.distortion, tuple(K.ravel().tolist()), SIZE) * [SIZE.width, SIZE.height]
    v, u = np.mgrid[0 : SIZE.height, 0 : SIZE.width] + 0.5
    wanted = np.stack(metashape(kind, values, (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]), axis=-1)
    np.testing.assert_allclose(places[::7, ::7], wanted[::7, ::7], atol=within)


def test_a_lens_that_cannot_be_undone_is_refused():
    for more, said in (
        ({"p3": 0.1}, "higher order"),
        ({"b2": 9.0}, "skew"),
        ({"k1": 1e308, "k4": 1e308}, "radial distortion"),
        ({"f": -1.0}, "should be positive"),
    ):
        with pytest.raises(CameraError, match=said):
            lens_of("frame", SIZE, lambda name, values=FRAME | more: values.get(name, 0.0))
    with pytest.raises(CameraError, match=r"'spherical' are not read.*Undistort Photos"):
        lens_of("spherical", SIZE, lambda name: FRAME.get(name, 0.0))
    small = lens_of("frame", SIZE, lambda name: (FRAME | {"b2": 0.3}).get(name, 0.0))
    assert "0.10 pixels" in small.note


def test_the_world_is_that_of_the_reference_but_for_its_origin(tmp_path):
    captures.write_metashape(tmp_path, SOURCE)
    scene = read_scene(str(tmp_path / "cameras.xml"))
    moved = scene.canonical_from_source @ torch.tensor([-2499366.4, -4256836.5, 4029217.9, 1.0], dtype=torch.float64)
    torch.testing.assert_close(moved, torch.tensor([0.0, 0, 0, 1], dtype=torch.float64), rtol=0, atol=1e-6)
    # A second component that lies where the first does, in a unit of its own; one that lies nowhere; a disabled one.
    start = (tmp_path / "cameras.xml").read_text().index("<transform>\n")
    text = (tmp_path / "cameras.xml").read_text()
    similarity = text[start : text.index("</transform></component>")].replace(">2.5<", ">5.0<")
    second = f'</component><component id="1" label="2">{similarity}</transform></component></components>'
    changes = {
        "</component></components>": second,
        'component_id="0" label="001"': 'component_id="1" label="C:\\\\walk\\\\001.JPG"',
        'component_id="0" label="002"': 'component_id="7" label="002"',
        'label="003"': 'label="003" enabled="false"',
    }
    captures.write_metashape(tmp_path, SOURCE, changes)
    scene = read_scene(str(tmp_path))
    centre = torch.from_numpy(SOURCE.c2w[1][:3, 3] * 2)
    torch.testing.assert_close(scene.views[1].camera.center, centre, rtol=0, atol=1e-6)
    assert {one.id: one.reason for one in scene.dropped} == {"002": "camera", "003": "flagged"}
    assert "is not placed relative to" in scene.dropped[0].message


ENTITY = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><document'


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"<document": ENTITY}, "declares a document type"),
        ({"</document>": ""}, "not readable as XML.*Export the cameras again"),
        ({"<cameras": "<markers", "</cameras": "</markers"}, "should have a chunk with cameras"),
        ({">2.5<": ">-1<"}, "'scale' should be positive"),
        ({"<f>66.0</f>": "<f>nan</f>"}, "'f' should be 1 finite numbers"),
        ({'sensor_id="0"': 'sensor_id="3"'}, "has no calibration"),
    ],
)
def test_xml_that_is_none_of_cameras_is_refused(changes, said, tmp_path):
    captures.write_metashape(tmp_path, SOURCE, changes)
    with pytest.raises(SceneFormatError, match=said):
        read_scene(str(tmp_path))


def test_labels_name_images_of_the_folder_or_cost_their_view(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"")
    folder = tmp_path / "scan"
    captures.write_metashape(folder, SOURCE, {'label="001"': 'label="../../secret"', 'label="003"': 'label="002.jpg"'})
    scene = read_scene(str(folder))
    assert [view.id for view in scene.views] == ["000"]
    assert [one.reason for one in scene.dropped] == ["image", "duplicate", "duplicate"]
    said = " ".join(one.message for one in scene.dropped)
    assert "images/secret" in said
    assert "Several cameras are called as '002.jpg'" in said
