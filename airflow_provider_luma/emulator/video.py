"""
The emulator's videos: small real MP4 files that show their own prompt.

A video is a pure function of its generation, so the same generation always gives the same bytes and two
generations never give the same ones (the request id stands in the file). It is H.264 in yuv420p with the
index at the front, :data:`FRAMES` frames at :data:`FPS` frames a second, its longest side
:data:`LONGEST_SIDE` pixels, both sides even. Drops of colour drift behind the prompt; with ``loop`` they end
where they began.

PyAV, Pillow and the font come with the extra ``emulator`` and are imported on the first video, not before:
the rest of the emulator works without them.
"""

from __future__ import annotations

import colorsys
import hashlib
import importlib
import importlib.resources
import io
import math
import struct
import tempfile
import threading
import unicodedata
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image, ImageFont

FPS = 24
#: 72 frames are three seconds.
FRAMES = 72
LONGEST_SIDE = 640
#: Beyond about 13:1 the asked ratio is no longer kept exactly: a thinner picture could not show its prompt.
SHORTEST_SIDE = 48
#: Videos kept in memory; an older one is rendered again, to the same bytes, when it is asked for.
CACHED_VIDEOS = 128

_INSTALL = "pip install airflow-provider-luma[emulator]"
_SMALLEST_TEXT = 11
#: More than fits into any picture at that size.
_LONGEST_TEXT = 2000


class VideosUnavailable(RuntimeError):
    """A video was asked for, but what draws it is not installed."""

    def __init__(self, missing: str) -> None:
        super().__init__(f"The emulator cannot draw videos: {missing} is not installed. Run: {_INSTALL}")


@dataclass(frozen=True)
class Video:
    """An MP4 file and the entity tag it is served under."""

    content: bytes
    etag: str


@dataclass(frozen=True)
class Scene:
    """All that a video depends on."""

    request_id: str
    prompt: str
    aspect_ratio: str
    loop: bool
    image_url: str | None = None


class VideoStore:
    """
    Renders each generation's video on demand and keeps the last ones.

    Safe to use from several threads at once; two that ask for the same video wait for one rendering.

    :param tiny: serve one small video, rendered once, for every generation. Each copy still ends in its own
        request id, in a box that players skip, so that copies differ.
    """

    def __init__(self, *, tiny: bool = False) -> None:
        self._tiny = tiny
        self._lock = threading.Lock()
        self._kept: OrderedDict[Scene, Video] = OrderedDict()

    def get(self, scene: Scene) -> Video:
        """Return the video of ``scene``; takes up to a second of CPU when it is not at hand."""
        if self._tiny:
            return _as_video(tiny_video() + _free_box(scene.request_id))
        with self._lock:
            video = self._kept.get(scene)
            if video is None:
                video = self._kept[scene] = _as_video(render(scene))
                if len(self._kept) > CACHED_VIDEOS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(scene)
            return video


def dimensions(aspect_ratio: str) -> tuple[int, int]:
    """Return the even width and height in pixels of an aspect ratio such as ``16:9``."""
    width, height = (float(side) for side in aspect_ratio.split(":"))
    scale = LONGEST_SIDE / max(width, height)
    return _even(width * scale), _even(height * scale)


def render(scene: Scene) -> bytes:
    """Render the MP4 file of ``scene``."""
    _check_installed()
    width, height = dimensions(scene.aspect_ratio)
    return _encode(
        size=(width, height),
        frames=FRAMES,
        draw=_Painter(scene, width, height).frame,
        title=scene.prompt,
        comment=scene.request_id,
    )


@lru_cache(maxsize=1)
def tiny_video() -> bytes:
    """Render the one small video that load tests are served: 64x36, half a second, a few kilobytes."""
    _check_installed()

    def draw(index: int) -> Image.Image:
        from PIL import Image

        return Image.new("RGB", (64, 36), (20 * index, 60, 120))

    return _encode(size=(64, 36), frames=12, draw=draw, title="tiny", comment="")


def _check_installed() -> None:
    for module, distribution in (("av", "av"), ("PIL", "pillow"), ("ttf_opensans", "ttf-opensans")):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise VideosUnavailable(distribution) from error


def _even(length: float) -> int:
    return max(SHORTEST_SIDE, 2 * round(length / 2))


def _as_video(content: bytes) -> Video:
    return Video(content=content, etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _free_box(text: str) -> bytes:
    payload = text.encode("utf-8", "surrogatepass")
    return struct.pack(">I4s", len(payload) + 8, b"free") + payload


def _encode(
    *, size: tuple[int, int], frames: int, draw: Callable[[int], Image.Image], title: str, comment: str
) -> bytes:
    import av

    # A file on disk, since the muxer reads it back to move the index to the front. It writes no time of
    # creation on its own, which keeps the bytes the same every time.
    with tempfile.TemporaryDirectory(prefix="luma-emulator-") as directory:
        file = Path(directory) / "video.mp4"
        with av.open(str(file), mode="w", format="mp4", options={"movflags": "faststart"}) as container:
            container.metadata["title"] = _clean(title)
            container.metadata["comment"] = _clean(comment)
            # One thread: several videos at once share the cores better than the parts of one video do.
            # Without cpu-independent, some widths (360) were seen to give other bytes now and then.
            options = {"preset": "veryfast", "crf": "26", "threads": "1", "x264-params": "cpu-independent=1"}
            stream = container.add_stream("libx264", rate=FPS, options=options)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            for index in range(frames):
                frame = av.VideoFrame.from_image(draw(index))  # type: ignore[no-untyped-call,unused-ignore]
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return file.read_bytes()


def _clean(text: str) -> str:
    """Return ``text`` as the muxer can store it: no NUL, no lone surrogates."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


class _Painter:
    """Draws the frames of one scene: the moving drops first, the text on its panel over them."""

    def __init__(self, scene: Scene, width: int, height: int) -> None:
        digest = hashlib.sha256(f"{scene.prompt}\0{scene.image_url}".encode("utf-8", "replace")).digest()
        hue = digest[0] / 256
        self._loop = scene.loop
        self._size = (width, height)
        self._background = _gradient(width, height, _colour(hue, 0.55, 0.35), _colour(hue + 0.12, 0.6, 0.12))
        self._overlay = _text_layer(scene, width, height)
        self._overlay_mask = self._overlay.getchannel("A")
        self._overlay_rgb = self._overlay.convert("RGB")
        self._drops: list[tuple[Image.Image, float, float]] = []
        for number in range(3):
            size = max(12, int(min(width, height) * (0.25 + digest[1 + number] / 1024)))
            drop = _drop(size, _colour(hue + 0.3 + number * 0.17, 0.55, 1.0))
            self._drops.append((drop, digest[4 + number] / 256, number / 3))

    def frame(self, index: int) -> Image.Image:
        picture = self._background.copy()
        width, height = self._size
        for drop, row, phase in self._drops:
            if self._loop:
                # A cosine stands still at its ends, so the last frame is the first one's neighbour.
                across = 0.5 - 0.5 * math.cos(2 * math.pi * index / FRAMES)
            else:
                across = index / (FRAMES - 1)
            sway = math.sin(math.pi * (across + phase))
            x = round((0.02 + 0.96 * across) * (width - drop.width))
            y = round((0.15 + 0.5 * row + 0.2 * sway) * (height - drop.height))
            picture.paste(drop, (x, y), drop)
        picture.paste(self._overlay_rgb, (0, 0), self._overlay_mask)
        return picture


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _gradient(
    width: int, height: int, top: tuple[int, int, int], bottom: tuple[int, int, int]
) -> Image.Image:
    from PIL import Image

    mask = Image.linear_gradient("L").resize((width, height))
    return Image.composite(
        Image.new("RGB", (width, height), bottom), Image.new("RGB", (width, height), top), mask
    )


def _drop(size: int, colour: tuple[int, int, int]) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFilter

    mask = Image.new("L", (size, size), 0)
    margin = size // 8
    ImageDraw.Draw(mask).ellipse((margin, margin, size - margin, size - margin), fill=210)
    drop = Image.new("RGBA", (size, size), colour)
    drop.putalpha(mask.filter(ImageFilter.GaussianBlur(margin / 2)))
    return drop


def _text_layer(scene: Scene, width: int, height: int) -> Image.Image:
    from PIL import Image, ImageDraw

    layer = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    margin = max(4, min(width, height) // 16)
    prompt = _printable(scene.prompt[:_LONGEST_TEXT])
    size = max(_SMALLEST_TEXT, min(34, round(math.sqrt(width * height) / 15)))
    small = max(_SMALLEST_TEXT, round(size * 0.45))
    footer_height = small * 2 if height >= 6 * small else 0
    room = height - 2 * margin - footer_height
    while True:
        font = _font(size)
        line_height = round(size * 1.3)
        lines = _wrap(prompt, font, width - 4 * margin)
        if len(lines) * line_height <= room or size <= _SMALLEST_TEXT:
            break
        size = max(_SMALLEST_TEXT, round(size * 0.9))
    fitting = max(1, room // line_height)
    if len(lines) > fitting:
        lines = [*lines[: fitting - 1], lines[fitting - 1][:-1] + "…"]
    block = len(lines) * line_height
    top = margin + max(0, (room - block) // 2)
    draw.rounded_rectangle(
        (margin, max(0, top - margin // 2), width - margin, min(height, top + block + margin // 2)),
        radius=margin // 2,
        fill=(8, 10, 18, 150),
    )
    for number, line in enumerate(lines):
        left = (width - font.getlength(line)) / 2
        draw.text((left, top + number * line_height), line, font=font, fill=(255, 255, 255, 255))
    if footer_height:
        words = ["emulated", scene.aspect_ratio, "loop" if scene.loop else "once", scene.request_id]
        if scene.image_url:
            words.insert(3, f"from {scene.image_url}")
        footer = _wrap(_printable(" · ".join(words)), _font(small), width - 2 * margin)[0].rstrip(" ·")
        draw.text(
            (margin, height - margin // 2 - round(small * 1.4)),
            footer,
            font=_font(small),
            fill=(255, 255, 255, 190),
        )
    return layer


def _printable(text: str) -> str:
    """Return ``text`` on one line and without what has no picture, such as control characters."""
    visible = (" " if unicodedata.category(character).startswith("C") else character for character in text)
    return " ".join("".join(visible).split())


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break ``text`` into lines of at most ``width`` pixels, inside a word where one word is wider."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        candidate = f"{line} {word}" if line else word
        if font.getlength(candidate) <= width:
            line = candidate
            continue
        if line:
            lines.append(line)
        line = word
        while len(line) > 1 and font.getlength(line) > width:
            cut = max(1, int(len(line) * width / font.getlength(line)))
            while cut > 1 and font.getlength(line[:cut]) > width:
                cut -= 1
            lines.append(line[:cut])
            line = line[cut:]
    lines.append(line)
    return lines


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return Open Sans, which draws Latin, Greek and Cyrillic; other scripts come out as empty boxes."""
    from PIL import ImageFont

    face = importlib.resources.files("ttf_opensans") / "ttf" / "OpenSans-SemiBold.ttf"
    # The basic layout, since the other one is not built into every Pillow and would draw other pixels.
    return ImageFont.truetype(io.BytesIO(face.read_bytes()), size, layout_engine=ImageFont.Layout.BASIC)
