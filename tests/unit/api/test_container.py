"""What the first bytes and the movie header of a file say, however they come and whatever they claim."""

from __future__ import annotations

import itertools
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_luma.api.container import (
    MAX_MOVIE_HEADER,
    SIGNATURE_LENGTH,
    ContainerReader,
    Picture,
    is_video,
)

#: "The duration is not known", by ISO/IEC 14496-12.
UNKNOWN_32, UNKNOWN_64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def box(kind: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def long_box(kind: bytes, body: bytes) -> bytes:
    """Return a box whose size stands in 64 bits."""
    return struct.pack(">I4sQ", 1, kind, 16 + len(body)) + body


def mvhd(duration: int, scale: int = 1000, version: int = 0) -> bytes:
    if version == 1:
        return box(b"mvhd", struct.pack(">IQQIQ", 1 << 24, 0, 0, scale, duration), bytes(80))
    return box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, scale, duration), bytes(80))


def tkhd(width: float, height: float, version: int = 0) -> bytes:
    times = struct.pack(">IQQIIQ" if version else ">IIIIII", version << 24, 0, 0, 1, 0, 0)
    return box(
        b"tkhd",
        times,
        bytes(16),  # reserved, layer, group, volume
        bytes(36),  # matrix
        struct.pack(">II", int(width * 65536), int(height * 65536)),
    )


def trak(*boxes: bytes) -> bytes:
    return box(b"trak", *boxes, box(b"mdia", box(b"mdhd", bytes(24)), box(b"minf", bytes(100))))


FTYP = box(b"ftyp", b"isom", bytes(4), b"isomiso2avc1mp41")
MDAT = box(b"mdat", bytes(range(256)) * 40)
VIDEO_TRACK = trak(tkhd(640, 360))
AUDIO_TRACK = trak(tkhd(0, 0))
MOOV = box(b"moov", mvhd(3000), VIDEO_TRACK)
EXPECTED = Picture(seconds=3.0, width=640, height=360)


def read(data: bytes, chunk: int | None = None) -> Picture:
    """Return what a reader says that is fed ``data`` in pieces of ``chunk`` bytes."""
    reader = ContainerReader()
    step = chunk or max(len(data), 1)
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
    return reader.picture


class TestWhatIsAVideo:
    @pytest.mark.parametrize("brand", [b"isom", b"mp42", b"avc1", b"qt  ", b"M4V ", b"iso6", b"dash"])
    def test_mp4_and_its_relatives(self, brand: bytes) -> None:
        assert is_video(box(b"ftyp", brand, bytes(8)))

    def test_webm_and_matroska(self) -> None:
        assert is_video(b"\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f")

    @pytest.mark.parametrize(
        "start",
        [
            b"",
            b"ftyp",
            b"\x00\x00\x00",
            b"\x1a\x45\xdf",
            b"<!DOCTYPE html><title>ftyp</title>",
            b'{"error": "no"}',
            b"\x1f\x8b\x08\x00" + FTYP,
            b"PK\x03\x04" + FTYP,
            b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
            b"\xff\xd8\xff\xe0\x00\x10JFIF",
            b"GIF89a" + bytes(20),
            b"RIFF\x00\x00\x00\x00WEBPVP8 ",
            b"\xef\xbb\xbf" + FTYP,
            b"\r\n" + FTYP,
        ],
        ids=lambda start: repr(start[:12]),
    )
    def test_nothing_else(self, start: bytes) -> None:
        assert not is_video(start)

    def test_the_signature_is_enough(self) -> None:
        assert is_video(FTYP[:SIGNATURE_LENGTH])


class TestTheMovieHeader:
    @pytest.mark.parametrize("order", list(itertools.permutations([MOOV, MDAT, box(b"free", bytes(40))])))
    def test_may_stand_anywhere(self, order: tuple[bytes, ...]) -> None:
        assert read(FTYP + b"".join(order)) == EXPECTED

    @pytest.mark.parametrize("chunk", [1, 2, 3, 7, 8, 9, 15, 16, 17, 64, 1000])
    def test_may_come_in_any_pieces(self, chunk: int) -> None:
        data = FTYP + long_box(b"free", bytes(11)) + MDAT + long_box(b"moov", MOOV[8:]) + MDAT
        assert read(data, chunk) == EXPECTED

    def test_of_version_1_has_wide_fields(self) -> None:
        moov = box(b"moov", mvhd(2**33, 2**30, version=1), trak(tkhd(1920, 1080, version=1)))
        assert read(FTYP + moov) == Picture(8.0, 1920, 1080)

    def test_the_sound_has_no_picture(self) -> None:
        assert read(FTYP + box(b"moov", mvhd(3000), AUDIO_TRACK, VIDEO_TRACK)) == EXPECTED
        assert read(FTYP + box(b"moov", mvhd(3000), AUDIO_TRACK)) == Picture(3.0, None, None)

    def test_fractions_of_seconds(self) -> None:
        assert read(FTYP + box(b"moov", mvhd(1001, 24000))).seconds == pytest.approx(0.042, abs=0.001)

    @pytest.mark.parametrize(
        "header",
        [mvhd(UNKNOWN_32), mvhd(UNKNOWN_64, version=1), mvhd(3000, scale=0)],
        ids=["all ones", "all ones, wide", "no scale"],
    )
    def test_a_duration_that_is_not_said_is_not_known(self, header: bytes) -> None:
        assert read(FTYP + box(b"moov", header, VIDEO_TRACK)) == Picture(None, 640, 360)

    def test_a_duration_of_zero_is_not_known(self) -> None:
        """Fragmented files, as live encoders write them, say zero: the length stands in the fragments."""
        mvex = box(b"mvex", box(b"trex", bytes(24)))
        assert read(FTYP + box(b"moov", mvhd(0), VIDEO_TRACK, mvex) + MDAT).seconds is None

    def test_is_not_there(self) -> None:
        assert read(FTYP + MDAT) == Picture()
        assert read(b"\x1a\x45\xdf\xa3" + bytes(100)) == Picture()
        assert read(b"") == Picture()

    def test_inside_other_boxes_does_not_count(self) -> None:
        assert read(FTYP + box(b"mdat", MOOV) + box(b"uuid", bytes(16), MOOV)) == Picture()

    def test_of_a_real_file(self) -> None:
        pytest.importorskip("av", reason="the extra emulator is not installed")
        from airflow_provider_luma.emulator.video import tiny_video

        assert read(tiny_video(), 13) == Picture(0.5, 64, 36)


class TestWhatIsNoHeader:
    @pytest.mark.parametrize("size", [0, 2, 7])
    def test_a_box_that_cannot_be_measured_ends_the_reading(self, size: int) -> None:
        assert read(FTYP + struct.pack(">I4s", size, b"free") + MOOV) == Picture()

    @pytest.mark.parametrize("size", [0, 1, 15])
    def test_nor_can_a_long_one(self, size: int) -> None:
        assert read(FTYP + struct.pack(">I4sQ", 1, b"free", size) + MOOV, 5) == Picture()

    def test_one_that_is_cut_off(self) -> None:
        data = FTYP + MOOV
        for end in range(len(data)):
            assert read(data[:end]) == Picture()

    def test_tracks_that_lie_about_their_size(self) -> None:
        lying = struct.pack(">I4s", 2**31, b"trak") + VIDEO_TRACK[8:]
        assert read(FTYP + box(b"moov", mvhd(3000), lying)) == Picture(3.0, None, None)

    def test_boxes_that_are_too_short_for_what_they_should_hold(self) -> None:
        for kind in (b"mvhd", b"tkhd"):
            for length in range(12):
                read(FTYP + box(b"moov", box(kind, bytes(length)), box(b"trak", box(kind, bytes(length)))))

    def test_tracks_in_tracks_in_tracks(self) -> None:
        nested = VIDEO_TRACK
        for _ in range(5000):
            nested = box(b"trak", nested)
        read(FTYP + box(b"moov", nested))

    @given(data=st.binary(max_size=400), chunk=st.integers(1, 40))
    def test_noise(self, data: bytes, chunk: int) -> None:
        assert read(FTYP + data, chunk) == read(FTYP + data)

    @given(data=st.data())
    def test_a_header_with_some_bytes_changed(self, data: st.DataObject) -> None:
        movie = bytearray(FTYP + MOOV + MDAT)
        for _ in range(data.draw(st.integers(1, 6))):
            movie[data.draw(st.integers(0, len(movie) - 1))] = data.draw(st.integers(0, 255))
        whole = read(bytes(movie))
        assert read(bytes(movie), 11) == whole
        for side in (whole.width, whole.height):
            assert side is None or 0 < side < 2**16
        assert whole.seconds is None or whole.seconds >= 0


class TestMemory:
    def test_does_not_grow_with_the_film(self) -> None:
        tracemalloc.start()
        try:
            reader = ContainerReader()
            reader.feed(FTYP + struct.pack(">I4sQ", 1, b"mdat", 2**50))
            piece = bytes(1024 * 1024)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(64):
                reader.feed(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak - before < 100_000

    def test_does_not_grow_with_a_header_that_is_no_header(self) -> None:
        tracemalloc.start()
        try:
            reader = ContainerReader()
            reader.feed(FTYP + struct.pack(">I4s", MAX_MOVIE_HEADER + 1, b"moov"))
            piece = bytes(1024 * 1024)
            for _ in range(64):
                reader.feed(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4 * len(piece)


class TestWhole:
    """A file that was cut off is not whole, wherever that was."""

    @staticmethod
    def box(kind: bytes, body: bytes = b"") -> bytes:
        return struct.pack(">I4s", 8 + len(body), kind) + body

    @pytest.mark.parametrize("header_first", [True, False])
    def test_only_from_the_last_of_header_and_pictures_on(self, header_first):
        parts = [self.box(b"moov", b"\0" * 20), self.box(b"mdat", b"\0" * 50)]
        parts = parts if header_first else parts[::-1]
        film = self.box(b"ftyp", b"isom" * 4) + parts[0] + self.box(b"free") + parts[1]
        for length in range(1, len(film)):
            reader = ContainerReader()
            reader.feed(film[:length])
            assert not reader.complete, length
        reader = ContainerReader()
        reader.feed(film)
        assert reader.complete
        reader.feed(self.box(b"free", b"\0" * 9))
        assert reader.complete

    def test_is_what_nothing_can_be_told_of(self):
        reader = ContainerReader()
        reader.feed(b"\x1a\x45\xdf\xa3" + b"\0" * 40)
        assert reader.complete
