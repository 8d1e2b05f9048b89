"""Frames to an H.264 file that every browser plays. The only home of PyAV."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lift3d.domain.camera import ImageSize
from lift3d.errors import ConfigError
from lift3d.extras import extra
from lift3d.storage.whole_file import whole

with extra("view"):
    import av
    from av.error import FFmpegError
    from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
    from av.video.stream import VideoStream

# Browsers decode 8 bits with halved chroma and nothing else.
_PIXELS = "yuv420p"
# x264's scale of loss; 18 is taken for visually lossless.
_QUALITY = "18"
# A whole frame this often, so that a player can jump.
_KEY_EVERY_S = 1


def write_video(out: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], fps: int) -> tuple[int, ImageSize]:
    """Encode sRGB frames of one size one by one; return how many there were, and the size they are stored at.

    Odd sizes are extended to even ones by repeating the last row or column.
    """
    # The index in front, so that a browser starts before it has the whole file.
    options = {"movflags": "+faststart"}
    try:
        with whole(out) as partial, av.open(str(partial), "w", format="mp4", options=options) as container:
            return _encode(container, frames, fps)
    except (OSError, FFmpegError) as error:
        raise ConfigError(f"'{out}' cannot be written: {error}. Give a name in a folder that takes files.") from error


def _encode(
    container: "av.container.OutputContainer", frames: Iterable[UInt8[np.ndarray, "height width 3"]], fps: int
) -> tuple[int, ImageSize]:
    stream: VideoStream | None = None
    count, size = 0, None
    for pixels in frames:
        even = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
        if stream is None or size is None:
            size = ImageSize(even.shape[0], even.shape[1])
            stream = _stream(container, size, fps)
        container.mux(stream.encode(_frame(even)))
        count += 1
    if stream is None or size is None:
        raise ConfigError("A video needs at least one frame, got none.")
    container.mux(stream.encode(None))
    return count, size


def _stream(container: "av.container.OutputContainer", size: ImageSize, fps: int) -> VideoStream:
    stream: VideoStream = container.add_stream("libx264", rate=fps, options={"crf": _QUALITY})
    stream.height, stream.width, stream.pix_fmt = size.height, size.width, _PIXELS
    context = stream.codec_context
    context.gop_size = max(1, _KEY_EVERY_S * fps)
    # Without these players guess from the size, and colours shift.
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return stream


def _frame(pixels: UInt8[np.ndarray, "height width 3"]) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return frame.reformat(format=_PIXELS, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
