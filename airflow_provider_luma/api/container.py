"""
Is this a video, and how long and how large is its picture: read from the bytes as they pass by.

A content type is what a server says; the first bytes are what there is. MP4 and its relatives (ISO base
media, ``ftyp``) and WebM or Matroska (EBML) are taken for videos. Of MP4 the movie header tells seconds,
width and height; it may stand at either end of the file, so the reader walks the boxes while the download
streams and keeps only that header, within a bound.

Why not a library: those that read this either bring a decoder of tens of megabytes (PyAV), are under the GPL
(mutagen, hachoir), or are no longer kept (pymp4). Source of the layout: ISO/IEC 14496-12.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

#: Bytes needed to recognise a container.
SIGNATURE_LENGTH = 12

#: Bytes of a movie header that are kept at most. The header of an hour of video is under 4 MiB.
MAX_MOVIE_HEADER = 16 * 1024 * 1024

_PARENTS = frozenset({b"moov", b"trak"})
_EBML = b"\x1a\x45\xdf\xa3"


@dataclass(frozen=True)
class Picture:
    """
    What a movie header says.

    :param seconds: duration; ``None`` if it is not said.
    :param width: of the picture as shown, in pixels; ``None`` if there is no video track.
    :param height: likewise.
    """

    seconds: float | None = None
    width: int | None = None
    height: int | None = None


def is_video(start: bytes) -> bool:
    """Return whether a file that begins with ``start`` is a video container."""
    return start[4:8] == b"ftyp" or start[:4] == _EBML


class ContainerReader:
    """Reads the movie header out of a stream of chunks, in memory that does not grow with the stream."""

    def __init__(self) -> None:
        self._head = b""
        self._movie: bytearray | None = None
        self._movie_size = 0
        self._skip = 0
        self._lost = False
        #: What is still missing: a file may be cut off between two boxes, too.
        self._missing = {b"ftyp", b"moov", b"mdat"}
        self.picture = Picture()

    @property
    def complete(self) -> bool:
        """
        Whether the file may end here: not in the middle of a box, nor before its header and its pictures.

        ``True`` also where nothing can be told, as of a container that is not MP4.
        """
        open_box = self._head or self._skip or self._movie is not None
        return self._lost or not (open_box or self._missing)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        view = memoryview(chunk)
        while len(view) and not self._lost:
            if self._skip:
                step = min(self._skip, len(view))
                self._skip -= step
                view = view[step:]
            elif self._movie is not None:
                step = min(self._movie_size - len(self._movie), len(view))
                self._movie += view[:step]
                view = view[step:]
                if len(self._movie) == self._movie_size:
                    self.picture = _picture(bytes(self._movie))
                    self._movie = None
            else:
                need = self._header_length() - len(self._head)
                self._head += bytes(view[:need])
                view = view[need:]
                if len(self._head) == self._header_length():
                    self._begin_box()

    def _header_length(self) -> int:
        """Return the length of the header of this box: a size of 1 means that a long one follows."""
        return 16 if self._head[:4] == b"\x00\x00\x00\x01" else 8

    def _begin_box(self) -> None:
        header = len(self._head)
        size, kind = struct.unpack(">I4s", self._head[:8])
        if header == 16:
            size = struct.unpack(">Q", self._head[8:])[0]
        self._head = b""
        self._missing.discard(kind)
        if size < header or b"ftyp" in self._missing:
            # Zero: up to the end of the file. Anything else: not a box. WebM has none at all, and does not
            # begin with one. Nothing more is told here.
            self._lost = True
        elif kind == b"moov" and size <= MAX_MOVIE_HEADER:
            self._movie, self._movie_size = bytearray(), size - header
        else:
            self._skip = size - header


def _picture(movie: bytes) -> Picture:
    seconds: float | None = None
    width = height = None
    for kind, body in _boxes(movie, depth=0):
        try:
            if kind == b"mvhd":
                version = body[0]
                scale, duration = struct.unpack_from(
                    ">IQ" if version == 1 else ">II", body, 20 if version == 1 else 12
                )
                if scale and duration and duration not in (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF):
                    seconds = round(duration / scale, 3)
            elif kind == b"tkhd":
                # 16.16 fixed point, at the end; an audio track has zeros.
                shown = tuple(side >> 16 for side in struct.unpack(">II", body[-8:]))
                if all(shown) and width is None:
                    width, height = shown
        except (struct.error, IndexError):
            continue
    return Picture(seconds, width, height)


def _boxes(data: bytes, depth: int) -> list[tuple[bytes, bytes]]:
    """Return the boxes in ``data``, those inside tracks too, as far as they can be read."""
    found: list[tuple[bytes, bytes]] = []
    at = 0
    while at + 8 <= len(data) and len(found) < 4096:
        size, kind = struct.unpack_from(">I4s", data, at)
        if not 8 <= size <= len(data) - at:
            break
        body = data[at + 8 : at + size]
        if kind in _PARENTS and depth < 4:
            found += _boxes(body, depth + 1)
        elif kind in (b"mvhd", b"tkhd"):
            found.append((kind, body))
        at += size
    return found
