"""The emulator's videos are real ones: they play, show their prompt, and can be fetched in parts."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from airflow_provider_luma.emulator import Emulator

av = pytest.importorskip("av")
PIL = pytest.importorskip("PIL")

from PIL import ImageChops, ImageStat  # noqa: E402

from airflow_provider_luma.emulator import video as videos  # noqa: E402

PROJECT = Path(__file__).parents[3]


def decode(content):
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_image() for frame in container.decode(stream)]
        return stream.codec_context, float(stream.duration * stream.time_base), frames


def difference(one, two):
    """Return how far apart two pictures are, 0 to 255."""
    return max(ImageStat.Stat(ImageChops.difference(one, two)).mean)


def scene(prompt="A jellyfish", aspect_ratio="16:9", loop=False, request_id="id"):
    return videos.Scene(request_id, prompt, aspect_ratio, loop)


@pytest.fixture(scope="module")
def once():
    return videos.render(scene())


class TestPicture:
    @pytest.mark.parametrize(
        ("aspect_ratio", "size"),
        [
            ("16:9", (640, 360)),
            ("9:16", (360, 640)),
            ("1:1", (640, 640)),
            ("21:9", (640, 274)),
            ("2.39:1", (640, 268)),
        ],
    )
    def test_has_the_asked_shape(self, aspect_ratio, size):
        assert videos.dimensions(aspect_ratio) == size

    @pytest.mark.parametrize("aspect_ratio", ["1:99999", "99999:1", "30:1"])
    def test_keeps_a_side_that_can_be_encoded(self, aspect_ratio):
        assert all(side >= 48 and side % 2 == 0 for side in videos.dimensions(aspect_ratio))
        _, _, frames = decode(videos.render(scene(aspect_ratio=aspect_ratio)))
        assert len(frames) == videos.FRAMES

    def test_is_three_seconds_of_h264_that_any_player_takes(self, once):
        codec, seconds, frames = decode(once)

        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert seconds == pytest.approx(3.0)
        assert len(frames) == 72
        assert frames[0].size == (640, 360)
        assert once.index(b"moov") < once.index(b"mdat"), "the index must come first"

    def test_moves(self, once):
        _, _, frames = decode(once)

        assert difference(frames[0], frames[24]) > 2
        assert difference(frames[24], frames[48]) > 2

    def test_a_loop_ends_where_it_began_and_another_does_not(self, once):
        _, _, looped = decode(videos.render(scene(loop=True)))
        _, _, straight = decode(once)

        assert difference(looped[0], looped[36]) > 5, "it must move in between"
        assert difference(looped[0], looped[-1]) < 2.5
        assert difference(straight[0], straight[-1]) > 5

    @pytest.mark.parametrize(
        "text", ["café", "naïve — straße", "Łódź", "Ελλάδα", "Москва", "Việt Nam", "“quoted”…"]
    )
    def test_draws_every_letter(self, text):
        font = videos._font(30)
        missing = bytes(font.getmask("\U000f0000"))

        assert [letter for letter in text if bytes(font.getmask(letter)) == missing] == []

    @pytest.mark.parametrize(
        "prompt",
        ["x", "word " * 400, "w" * 3000, "\x00\x07\r\n\t", "\ud800 alone", "🎬🌧️ 雨の街", "‏שלום"],
        ids=["short", "long", "unbroken", "control", "surrogate", "no letters of the font", "right to left"],
    )
    def test_any_prompt_can_be_drawn(self, prompt):
        # A small picture, to be quick.
        picture = videos._Painter(scene(prompt), 160, 90).frame(0)

        assert picture.size == (160, 90)


class TestBytes:
    @pytest.mark.parametrize("aspect_ratio", ["21:9", "9:21"])
    def test_are_the_same_for_the_same_generation(self, aspect_ratio):
        one = videos.render(scene(aspect_ratio=aspect_ratio))

        assert videos.render(scene(aspect_ratio=aspect_ratio)) == one

    def test_differ_between_prompts_and_between_generations(self):
        contents = {
            videos.render(scene(prompt="one", aspect_ratio="9:1")),
            videos.render(scene(prompt="two", aspect_ratio="9:1")),
            videos.render(scene(prompt="two", aspect_ratio="9:1", request_id="another")),
        }

        assert len(contents) == 3

    def test_tiny_ones_are_small_and_real_and_tell_generations_apart(self):
        store = videos.VideoStore(tiny=True)
        one, two = store.get(scene(request_id="one")).content, store.get(scene(request_id="two")).content

        assert one != two
        assert len(one) < 4000
        assert len(decode(one)[2]) == 12

    def test_are_kept_within_bounds(self, monkeypatch):
        monkeypatch.setattr(videos, "CACHED_VIDEOS", 3)
        monkeypatch.setattr(videos, "render", lambda scene: scene.request_id.encode())
        store = videos.VideoStore()
        for number in range(10):
            store.get(scene(request_id=str(number)))

        assert len(store._kept) == 3


@pytest.fixture(scope="module")
def served():
    with Emulator(seconds=0) as emulator:
        yield emulator, emulator.add("served", seconds=0, prompt="Rain on a neon street")


class TestServing:
    def fetch(self, served, **headers):
        emulator, request_id = served
        return requests.get(emulator.video_url(request_id), headers=headers, timeout=10)

    def test_needs_no_key(self, served):
        answer = self.fetch(served)

        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "video/mp4")
        assert answer.content == served[0].video_bytes("served")
        assert "Ocp-Apim-Subscription-Key" not in served[0].calls("video")[-1].headers

    @pytest.mark.parametrize(
        ("asked", "part"),
        [("bytes=0-99", slice(0, 100)), ("bytes=100-", slice(100, None)), ("bytes=-50", slice(-50, None))],
    )
    def test_honours_a_range(self, served, asked, part):
        whole = served[0].video_bytes("served")
        answer = self.fetch(served, Range=asked)

        assert answer.status_code == 206
        assert answer.content == whole[part]
        start = whole.index(answer.content)
        assert (
            answer.headers["Content-Range"] == f"bytes {start}-{start + len(answer.content) - 1}/{len(whole)}"
        )

    def test_cuts_a_range_at_the_end(self, served):
        size = len(served[0].video_bytes("served"))
        answer = self.fetch(served, Range=f"bytes={size - 5}-{size + 1000}")

        assert (answer.status_code, len(answer.content)) == (206, 5)

    def test_refuses_a_range_beyond_the_end(self, served):
        size = len(served[0].video_bytes("served"))
        answer = self.fetch(served, Range=f"bytes={size}-")

        assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{size}")

    @pytest.mark.parametrize("nonsense", ["bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=9-3"])
    def test_ignores_a_range_it_cannot_read(self, served, nonsense):
        assert self.fetch(served, Range=nonsense).status_code == 200

    def test_knows_its_tag(self, served):
        tag = self.fetch(served).headers["ETag"]

        assert self.fetch(served, **{"If-None-Match": tag}).status_code == 304
        assert self.fetch(served, **{"If-Range": tag, "Range": "bytes=0-0"}).status_code == 206
        assert self.fetch(served, **{"If-Range": '"old"', "Range": "bytes=0-0"}).status_code == 200

    def test_head_tells_the_length(self, served):
        answer = requests.head(served[0].video_url("served"), timeout=10)

        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["Content-Length"]) == len(served[0].video_bytes("served"))

    @pytest.mark.parametrize("plan", [{"seconds": 60}, {"outcome": "failed"}, {"outcome": "pending"}])
    def test_there_is_none_before_completion(self, served, plan):
        request_id = served[0].add(**{"seconds": 0, **plan})

        assert requests.get(served[0].video_url(request_id), timeout=10).status_code == 404

    def test_there_is_none_for_an_unknown_id(self, served):
        assert requests.get(served[0].video_url("unknown"), timeout=10).status_code == 404

    def test_drawing_does_not_hold_up_the_server(self, served):
        emulator, _ = served
        url = emulator.video_url(emulator.add(seconds=0, prompt="Slow to draw"))
        drawing = threading.Thread(target=requests.get, args=(url,), kwargs={"timeout": 20})
        drawing.start()
        emulator.wait_for(lambda e: e.in_flight["video"])
        answered = 0
        while emulator.in_flight["video"]:
            started = time.monotonic()
            requests.get(f"{emulator.url}/_emulator/health", timeout=5)
            answered += time.monotonic() - started < 0.3

        drawing.join()
        assert answered >= 3


class TestWithoutTheExtra:
    def test_all_but_videos_works_and_the_error_says_what_to_install(self):
        script = """
import sys, urllib.error, urllib.request
sys.modules["av"] = sys.modules["PIL"] = None
from airflow_provider_luma.emulator import Emulator, VideosUnavailable
with Emulator() as emulator:
    request_id = emulator.add(seconds=0)
    try:
        emulator.video_bytes(request_id)
    except VideosUnavailable as error:
        print(error)
    try:
        urllib.request.urlopen(emulator.video_url(request_id))
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode())
"""
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            cwd=PROJECT,
        )

        assert done.stdout.count("pip install airflow-provider-luma[emulator]") == 2
        assert "501" in done.stdout
