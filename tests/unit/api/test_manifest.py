"""What a sidecar file says, and which of them are believed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from airflow_provider_luma.api.manifest import MANIFEST_VERSION, Manifest

MANIFEST = Manifest(
    request_id="a-1",
    source="https://cdn.example.com/a.mp4",
    source_sha256="0" * 64,
    path="file:///videos/a.mp4",
    sha256="1" * 64,
    bytes=1000,
    seconds=5.0,
    width=1280,
    height=720,
    kept_at="2026-11-25T10:00:00Z",
)


class TestReadingAManifest:
    def test_gives_what_was_written(self):
        assert Manifest.of(asdict(MANIFEST)) == MANIFEST

    def test_one_without_a_cost_is_whole(self):
        fields = asdict(MANIFEST)
        del fields["estimated_cost"], fields["currency"]

        assert Manifest.of(fields) == MANIFEST

    def test_one_of_an_address_alone_and_of_an_unknown_picture_is_whole(self):
        fields = asdict(MANIFEST) | {"request_id": None, "seconds": None, "width": None, "height": None}
        manifest = Manifest.of(fields)

        assert manifest is not None
        assert manifest.request_id is None

    @pytest.mark.parametrize(
        "wrong",
        [
            {"v": MANIFEST_VERSION + 1},
            {"v": str(MANIFEST_VERSION)},
            {"request_id": 7},
            {"source": None},
            {"source_sha256": 1},
            {"path": None},
            {"sha256": ["1"]},
            {"bytes": "1000"},
            {"bytes": None},
            {"seconds": "5"},
            {"width": "1280"},
            {"height": 720.5},
            {"kept_at": None},
            {"estimated_cost": "0.4"},
            {"currency": 840},
            {"of_a_later_release": 1},
        ],
        ids=str,
    )
    def test_one_that_is_not_ours_is_none(self, wrong: dict[str, Any]):
        assert Manifest.of(asdict(MANIFEST) | wrong) is None

    @pytest.mark.parametrize("missing", ["request_id", "sha256", "kept_at"])
    def test_one_that_is_not_whole_is_none(self, missing: str):
        fields = asdict(MANIFEST)
        del fields[missing]

        assert Manifest.of(fields) is None

    @pytest.mark.parametrize("other", [None, [], "text", 7, {}, {"video": {}}])
    def test_other_json_is_none(self, other: Any):
        assert Manifest.of(other) is None


class TestTheAspectRatio:
    @pytest.mark.parametrize(
        ("width", "height", "ratio"),
        [(1280, 720, "16:9"), (720, 1280, "9:16"), (640, 640, "1:1"), (1, 1080, "1:1080")],
    )
    def test_is_in_lowest_terms(self, width: int, height: int, ratio: str):
        manifest = Manifest.of(asdict(MANIFEST) | {"width": width, "height": height})

        assert manifest is not None
        assert manifest.aspect_ratio == ratio

    @pytest.mark.parametrize(("width", "height"), [(None, 720), (1280, None), (0, 720), (1280, 0)])
    def test_is_not_known_without_two_sides(self, width: int | None, height: int | None):
        manifest = Manifest.of(asdict(MANIFEST) | {"width": width, "height": height})

        assert manifest is not None
        assert manifest.aspect_ratio is None
