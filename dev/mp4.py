"""Looks into a video file: that it plays, how large and long it is, whether it moves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import av.error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What reading a file raises when it is no video that plays.
NotPlayable = (OSError, ValueError, av.error.FFmpegError)


@dataclass(frozen=True)
class Video:
    """What a decoded video turned out to be."""

    width: int
    height: int
    seconds: float
    #: SHA-256 of the pixels of each frame, in the order in which they are shown.
    frames: tuple[str, ...]


def decode(path: Path) -> Video:
    """Decode every frame; raises one of :data:`NotPlayable` when the file cannot be played."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0] if container.streams.video else None
        if stream is None:
            raise ValueError(f"{path} has no video stream")
        frames = tuple(_hashes(container, stream))
        if not frames:
            raise ValueError(f"{path} has no frame")
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        return Video(stream.width, stream.height, seconds, frames)


def _hashes(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[str]:
    for frame in container.decode(stream):
        yield hashlib.sha256(bytes(frame.reformat(format="gray").planes[0])).hexdigest()
