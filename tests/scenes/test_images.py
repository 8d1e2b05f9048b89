"""Truths of decoding, undistortion and resizing."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import torch
from PIL import Image

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.errors import CameraError, ImageError
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.images import decode_color, decode_map, image_size
from lift3d.scenes.undistortion import Distortion, file_fractions
from tests.support import captures

SIZE = ImageSize(captures.HEIGHT, captures.WIDTH)
CAMERA = Camera(torch.from_numpy(captures.K), torch.eye(4), SIZE)
LENS = Distortion("SIMPLE_RADIAL", (70.0, 30.0, 26.5, -0.1), SIZE)


def save(path: Path, pixels: np.ndarray, **options: object) -> str:
    Image.fromarray(pixels).save(path, **options)
    return str(path)


def test_own_size_gives_the_stored_pixels_and_the_camera_scales_per_axis(tmp_path: Path) -> None:
    stored = captures.texture()
    frame = FileFrame(save(tmp_path / "a.png", stored)).load(CAMERA, SIZE)
    np.testing.assert_allclose(frame.image.permute(1, 2, 0) * 255, stored, atol=1e-3)
    assert frame.is_valid.all()
    assert frame.image.dtype == torch.float32
    small = FileFrame(str(tmp_path / "a.png")).load(CAMERA, ImageSize(20, 27))
    np.testing.assert_allclose(small.camera.K, np.diag([27 / captures.WIDTH, 20 / captures.HEIGHT, 1]) @ captures.K)


@pytest.mark.fault(26, "grey, 1 bit, palette, CMYK, YCbCr and alpha")
@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "RGBA", "LA"])
def test_every_mode_gives_three_planes(mode: str, tmp_path: Path) -> None:
    suffix = "png" if mode in ("L", "1", "P", "RGBA", "LA") else "jpg"
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.full((SIZE.height, SIZE.width, 3), 255, np.uint8)).convert(mode).save(path)
    frame = FileFrame(str(path)).load(CAMERA, SIZE)
    assert frame.image.shape == (3, SIZE.height, SIZE.width)
    assert frame.image.min() > 0.98


@pytest.mark.fault(26, "16-bit grey, and an animated GIF")
def test_sixteen_bit_grey_keeps_its_steps_and_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    stored = np.arange(SIZE.height * SIZE.width, dtype=np.uint16).reshape(SIZE.height, SIZE.width) * 20
    frame = FileFrame(save(tmp_path / "a.png", stored)).load(CAMERA, SIZE)
    np.testing.assert_allclose(frame.image[1] * 65535, stored, atol=0.01)
    # An animation gives its first frame.
    frames = [Image.new("L", (SIZE.width, SIZE.height), value) for value in (255, 0)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert FileFrame(str(tmp_path / "a.gif")).load(CAMERA, SIZE).image.min() == 1


@pytest.mark.fault(26, "alpha")
def test_alpha_is_validity_and_never_bleeds(tmp_path: Path) -> None:
    rgba = np.zeros((SIZE.height, SIZE.width, 4), np.uint8)
    rgba[:, :20] = (200, 100, 50, 255)
    rgba[:, 20:] = (0, 255, 255, 0)
    path = save(tmp_path / "a.png", rgba)
    frame = FileFrame(path).load(CAMERA, ImageSize(9, 12))
    seen = frame.image.permute(1, 2, 0)[frame.is_valid]
    torch.testing.assert_close(seen, torch.tensor([200.0, 100, 50]).expand_as(seen) / 255)
    # A column is valid if the opaque 20 of 64 columns fill at least half of it.
    assert frame.is_valid.all(0).tolist() == [index + 0.5 <= 12 * 20 / 64 for index in range(12)]
    assert frame.is_empty is not None
    assert torch.equal(frame.is_empty, ~frame.is_valid)


def test_alpha_is_empty_a_mask_unknown_unless_it_is_a_silhouette(tmp_path: Path) -> None:
    rgba = np.full((SIZE.height, SIZE.width, 4), 255, np.uint8)
    rgba[:, 40:, 3] = 0
    mask = np.full((SIZE.height, SIZE.width), 255, np.uint8)
    mask[:24] = 0
    paths = {"image": save(tmp_path / "a.png", rgba), "mask": save(tmp_path / "m.png", mask)}
    for distortion in (None, LENS):
        masked = FileFrame(**paths, distortion=distortion).load(CAMERA, SIZE)
        cut_out = FileFrame(**paths, distortion=distortion, is_silhouette=True).load(CAMERA, SIZE)
        assert torch.equal(masked.is_valid, cut_out.is_valid)
        assert masked.is_empty is not None
        assert cut_out.is_empty is not None
        assert not (masked.is_empty & masked.is_valid).any()
        assert not masked.is_empty[:20].any()
        assert masked.is_empty[30:44, 50].all()
        assert cut_out.is_empty[5:20, 10:60].all()
    plain = FileFrame(save(tmp_path / "b.png", rgba[..., :3]), mask=paths["mask"]).load(CAMERA, SIZE)
    assert plain.is_empty is None


def test_what_a_mask_hides_changes_nothing(tmp_path: Path) -> None:
    mask = np.full((SIZE.height // 2, SIZE.width // 2), 255, np.uint8)
    mask[5:15, 8:20] = 0
    hidden = np.kron(mask, np.ones((2, 2), np.uint8)) == 0
    mask_path = save(tmp_path / "m.png", mask)
    garbage = captures.texture()
    garbage[hidden] = 255 - garbage[hidden]
    for distortion in (None, LENS):
        frames = [
            FileFrame(save(tmp_path / f"{name}.png", pixels), mask=mask_path, distortion=distortion).load(
                CAMERA, ImageSize(19, 25)
            )
            for name, pixels in (("a", captures.texture()), ("b", garbage))
        ]
        assert torch.equal(frames[0].is_valid, frames[1].is_valid)
        assert 0.5 < frames[0].is_valid.float().mean() < 1
        assert torch.equal(frames[0].image[:, frames[0].is_valid], frames[1].image[:, frames[1].is_valid])


def test_resizing_keeps_the_mean_and_constants(tmp_path: Path) -> None:
    stored = captures.texture()
    source = FileFrame(save(tmp_path / "a.png", stored))
    half = source.load(CAMERA, ImageSize(24, 32)).image
    np.testing.assert_allclose(half.mean((1, 2)) * 255, stored.mean((0, 1)), atol=1e-3)
    constant = FileFrame(save(tmp_path / "c.png", np.full_like(stored, 77)))
    for size in (ImageSize(13, 17), ImageSize(100, 133)):
        torch.testing.assert_close(
            constant.load(CAMERA, size).image, torch.full((3, size.height, size.width), 77 / 255)
        )


LENSES = [
    ("SIMPLE_RADIAL", (70.0, 30.0, 26.5, 0.1)),
    ("OPENCV", (70.0, 66.0, 30.0, 26.5, -0.1, 0.02, 0.003, -0.002)),
    ("OPENCV_FISHEYE", (70.0, 66.0, 30.0, 26.5, 0.02, -0.01, 0.0, 0.0)),
    ("OPENCV_FISHEYE", (70.0, 66.0, 30.0, 26.5, 0.0, 0.0, 0.0, 0.0)),
    ("FULL_OPENCV", (70.0, 66.0, 30.0, 26.5, 0.1, 0.01, 0.0, 0.0, 0.02, 0.1, 0.0, 0.0)),
    ("EUCM", (70.0, 66.0, 30.0, 26.5, 0.4, 1.1)),
]


@pytest.mark.parametrize(("model", "params"), LENSES)
def test_undistorted_pixels_show_what_their_rays_hit(model: str, params: tuple[float, ...], tmp_path: Path) -> None:
    """Each pixel of the file stores its own ray; after undistortion the pinhole's ray must be there."""
    lens = pycolmap.Camera(model=model, width=SIZE.width, height=SIZE.height, params=list(params))
    v, u = np.mgrid[0 : SIZE.height, 0 : SIZE.width] + 0.5
    rays = np.asarray(lens.cam_from_img(np.stack([u.ravel(), v.ravel()], -1)))
    xy = rays[:, :2] / rays[:, 2:] if rays.shape[1] == 3 else rays
    stored = np.zeros((SIZE.height, SIZE.width, 3), np.uint8)
    stored[..., :2] = ((xy.reshape(SIZE.height, SIZE.width, 2) + 1) * 127.5).clip(0, 255).round()
    source = FileFrame(save(tmp_path / "a.png", stored), distortion=Distortion(model, params, SIZE))
    frame = source.load(CAMERA, SIZE)
    expected = (np.stack([(u - captures.CX) / captures.FX, (v - captures.CY) / captures.FY]) + 1) / 2
    error = np.abs(frame.image[:2].numpy() - expected)[:, frame.is_valid.numpy()]
    assert frame.is_valid.float().mean() > 0.5
    # One step of 8 bits, twice: when stored and when mixed; bilinear mixing bends little at this curvature.
    assert error.max() < 1.6 / 255


def test_fold_of_a_strong_lens_is_invalid(tmp_path: Path) -> None:
    """Past its fold, a barrel polynomial brings rays back into the image; they saw nothing."""
    lens = Distortion("SIMPLE_RADIAL", (30.0, 32.0, 24.0, -0.3), SIZE)
    camera = Camera(torch.tensor([[12.0, 0, 32], [0, 12, 24], [0, 0, 1]]), torch.eye(4), SIZE)
    frame = FileFrame(save(tmp_path / "a.png", captures.texture()), distortion=lens).load(camera, SIZE)
    v, u = np.mgrid[0 : SIZE.height, 0 : SIZE.width] + 0.5
    radius = np.hypot(u - 32, v - 24) / 12
    # r (1 − 0.3 r²) has its maximum at r = 1/√0.9.
    assert not frame.is_valid.numpy()[radius > 1 / np.sqrt(0.9) + 0.1].any()
    assert frame.is_valid.numpy()[radius < 0.5].all()


@pytest.mark.parametrize(
    ("model", "params"), [("NO_SUCH", (1.0,)), ("PINHOLE", (1.0,)), ("SIMPLE_PINHOLE", (float("nan"), 1.0, 1.0))]
)
def test_impossible_lenses_are_camera_errors(model: str, params: tuple[float, ...]) -> None:
    with pytest.raises(CameraError):
        Distortion(model, params, SIZE)


def test_a_pinhole_is_computed_as_by_colmap_without_it() -> None:
    params = (70.3, 66.1, 30.2, 26.5)
    found = file_fractions(Distortion("PINHOLE", params, SIZE), (71.0, 0.3, 31.0, 0.0, 65.0, 24.0, 0.0, 0.0, 1.0), SIZE)
    v, u = np.mgrid[0 : SIZE.height, 0 : SIZE.width] + 0.5
    y = (v - 24.0) / 65.0
    rays = np.stack([(u - 31.0 - 0.3 * y) / 71.0, y, np.ones_like(u)], axis=-1).reshape(-1, 3)
    lens = pycolmap.Camera(model="PINHOLE", width=SIZE.width, height=SIZE.height, params=list(params))
    expected = (lens.img_from_cam(rays) / [SIZE.width, SIZE.height]).astype(np.float32)
    assert np.array_equal(found.reshape(-1, 2), expected)


def test_depth_is_nearest_unknown_is_nan_and_half_size_decides_all_ties_alike(tmp_path: Path) -> None:
    raw = np.full((24, 32), 1500, np.uint16)
    raw[:, 16:] = 3000
    raw[0, 0], raw[1, 1] = 0, 65535
    source = FileFrame(save(tmp_path / "a.png", captures.texture()), depth=save(tmp_path / "d.png", raw))
    z_depth = source.load(CAMERA, ImageSize(36, 48)).z_depth
    known = z_depth[torch.isfinite(z_depth)]
    assert set(known.unique().tolist()) == {1.5, 3.0}, "depth must not be mixed over an edge"
    full = source.load(CAMERA, ImageSize(24, 32)).z_depth
    assert torch.isnan(full).nonzero().tolist() == [[0, 0], [1, 1]]
    raw = np.tile(np.arange(SIZE.width, dtype=np.uint16) + 1, (SIZE.height, 1))
    source = FileFrame(
        save(tmp_path / "a.png", captures.texture()), depth=save(tmp_path / "d.png", raw), depth_scale=1.0
    )
    z_depth = source.load(CAMERA, ImageSize(SIZE.height // 2, SIZE.width // 2)).z_depth
    assert (z_depth.diff(dim=1) == 2).all()


def test_a_pixel_made_of_many_knows_the_depth_that_the_nearest_of_them_knows(tmp_path: Path) -> None:
    raw = np.zeros((60, 80), np.uint16)
    # Of five by five pixels: one beside the middle, with one in a corner; one in a corner alone; one of the next pixel.
    raw[2, 3], raw[0, 0] = 1000, 9000
    raw[4, 5] = 2000
    raw[7, 10], raw[7, 9] = 65535, 3000
    source = FileFrame(save(tmp_path / "a.png", captures.texture()), depth=save(tmp_path / "d.png", raw))
    z_depth = source.load(CAMERA, ImageSize(12, 16)).z_depth
    assert z_depth[:2, :3].nan_to_num(0.0).tolist() == [[1, 2, 0], [0, 3, 0]]
    assert int(torch.isfinite(z_depth).sum()) == 3


def test_labels_are_undistorted_like_the_image(tmp_path: Path) -> None:
    ids = np.zeros((SIZE.height, SIZE.width), np.uint8)
    ids[10:30, 20:50] = 7
    ids[30:, :] = 255
    pixels = np.repeat(np.where(ids == 7, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
    source = FileFrame(
        save(tmp_path / "a.png", pixels), labels=save(tmp_path / "l.png", ids), label_ignore=255, distortion=LENS
    )
    frame = source.load(CAMERA, SIZE)
    assert set(frame.labels.unique().tolist()) == {0, 7, UNKNOWN_LABEL}
    is_clear = (frame.image[0] - 0.5).abs() > 0.49
    assert torch.equal(((frame.labels == 7) & is_clear), (frame.image[0] > 0.5) & is_clear)


@pytest.mark.fault(26, "EXIF rotation")
def test_exif_rotation_only_where_it_makes_the_size_fit_and_a_uniform_rescale_fits(tmp_path: Path) -> None:
    upright = captures.texture()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.ascontiguousarray(np.rot90(upright))
    path = save(tmp_path / "turned.png", turned, exif=exif)
    np.testing.assert_array_equal(decode_color(path, SIZE)[0], upright)
    as_stored = ImageSize(SIZE.width, SIZE.height)
    np.testing.assert_array_equal(decode_color(path, as_stored)[0], turned)
    assert image_size(path) == as_stored
    with pytest.raises(ImageError, match="its camera"):
        image_size(save(tmp_path / "plain.png", turned), SIZE)
    path = save(tmp_path / "small.png", captures.texture(21, 16))
    assert image_size(path, SIZE) == ImageSize(16, 21)
    with pytest.raises(ImageError, match="its camera"):
        image_size(path, ImageSize(48, 48))


def bomb_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.fault(27, "a PNG of 33 bytes that declares 30,000 × 30,000 pixels")
@pytest.mark.fault(26, "a cut JPEG, 0 bytes, text and PostScript under the names of images")
@pytest.mark.parametrize("turn", [None, 6])
def test_a_jpeg_much_larger_than_what_is_wanted_shows_the_same_in_the_same_place(
    turn: int | None, tmp_path: Path
) -> None:
    v, u = np.mgrid[0:960, 0:1280] / 160
    pixels = (127 + 100 * np.stack([np.sin(u), np.cos(v), np.sin(u + v)], axis=-1)).astype(np.uint8)
    exif = Image.Exif()
    if turn:
        exif[0x0112] = turn
        pixels = np.ascontiguousarray(np.rot90(pixels))
    for quality, name in ((98, "a.jpg"), (None, "a.png")):
        save(tmp_path / name, pixels, exif=exif, **({"quality": quality} if quality else {}))
    full, wanted = ImageSize(960, 1280), ImageSize(96, 128)
    small, exact = decode_color(tmp_path / "a.jpg", full, wanted)[0], decode_color(tmp_path / "a.png", full, wanted)[0]
    assert small.shape == (240, 320, 3)
    assert exact.shape == (960, 1280, 3)
    camera = Camera(CAMERA.K, CAMERA.w2c, full)
    seen = [FileFrame(str(tmp_path / name)).load(camera, wanted).image for name in ("a.jpg", "a.png")]
    # A pixel further to one side would be off by a tenth.
    assert float((seen[0] - seen[1]).abs().max()) < 0.02
    assert decode_color(tmp_path / "a.jpg", full, ImageSize(700, 933))[0].shape == (960, 1280, 3)


def test_what_a_mask_hides_of_a_large_jpeg_is_not_mixed_into_what_it_shows(tmp_path: Path) -> None:
    pixels = np.full((960, 1280, 3), 255, np.uint8)
    pixels[:, :650] = 0
    mask = save(tmp_path / "m.png", pixels[..., 0])
    jpeg = save(tmp_path / "a.jpg", pixels, quality=98)
    png = save(tmp_path / "a.png", decode_color(jpeg)[0])
    camera = Camera(CAMERA.K, CAMERA.w2c, ImageSize(960, 1280))
    seen, exact = (FileFrame(one, mask=mask).load(camera, ImageSize(96, 128)).image for one in (jpeg, png))
    assert torch.equal(seen, exact)


def test_broken_files_are_image_errors(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(captures.texture(640, 480)).save(stream, "JPEG")
    broken = {
        "cut.jpg": stream.getvalue()[:3000],
        "empty.png": b"",
        "text.png": b"not an image at all",
        "bomb.png": bomb_header(30000, 30000),
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=name):
            decode_color(tmp_path / name, ImageSize(480, 640))
    missing = FileFrame(str(tmp_path / "gone.png"))
    for call in (lambda: missing.load(CAMERA, SIZE), missing.content_digest):
        with pytest.raises(ImageError, match=r"gone\.png"):
            call()
    with pytest.raises(ImageError, match="one number per pixel"):
        decode_map(save(tmp_path / "rgb.png", captures.texture()))


def test_depth_as_an_array_file(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.full((SIZE.height, SIZE.width, 1), 2.5, np.float32))
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    image = save(tmp_path / "a.png", captures.texture())
    source = FileFrame(image, depth=str(tmp_path / "d.npy"), depth_scale=2.0)
    z_depth = source.load(CAMERA, SIZE).z_depth
    assert (z_depth == 5).all()
    with pytest.raises(ImageError):
        FileFrame(image, depth=str(tmp_path / "evil.npy")).load(CAMERA, SIZE)


def test_digest_follows_every_input_of_load(tmp_path: Path) -> None:
    image, other = save(tmp_path / "a.png", captures.texture()), save(tmp_path / "b.png", captures.texture(seed=1))
    depth = save(tmp_path / "d.png", np.ones((8, 8), np.uint16))
    sources = [
        FileFrame(image),
        FileFrame(other),
        FileFrame(image, depth=depth),
        FileFrame(image, depth=depth, depth_scale=0.1),
        FileFrame(image, mask=depth),
        FileFrame(image, labels=depth),
        FileFrame(image, labels=depth, label_ignore=0),
        FileFrame(image, distortion=LENS),
    ]
    assert len({source.content_digest() for source in sources}) == len(sources)
    copy = save(tmp_path / "copy.png", captures.texture())
    assert FileFrame(copy).content_digest() == FileFrame(image).content_digest(), "a file's name is not its content"
