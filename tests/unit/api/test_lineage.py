"""By which names OpenLineage knows what an address leads to."""

from __future__ import annotations

import pytest

from airflow_provider_luma.api.lineage import TaskLineage, dataset_name
from airflow_provider_luma.api.models import GenerationRequest


class TestTheNameOfADataset:
    @pytest.mark.parametrize(
        ("address", "named"),
        [
            ("file:///videos/a.mp4", ("file", "/videos/a.mp4")),
            ("/videos/a.mp4", ("file", "/videos/a.mp4")),
            ("s3://films/2026/a.mp4", ("s3://films", "2026/a.mp4")),
            ("s3://aws_default@films/a.mp4", ("s3://films", "a.mp4")),
            ("s3://c@films/a#1?b.mp4", ("s3://films", "a#1?b.mp4")),
            ("file:///videos/a#1.mp4", ("file", "/videos/a#1.mp4")),
            ("gs://films/a.mp4", ("gs://films", "a.mp4")),
            ("https://cdn.example/a/b.mp4?sig=swordfish#x", ("https://cdn.example", "/a/b.mp4")),
            ("https://someone:swordfish@cdn.example:8443/a.mp4", ("https://cdn.example:8443", "/a.mp4")),
            ("https://cdn.example", ("https://cdn.example", "/")),
        ],
    )
    def test_is_its_place_without_what_may_be_secret(self, address: str, named: tuple[str, str]):
        assert dataset_name(address) == named


def test_what_goes_in_is_named_once():
    image = GenerationRequest.of({"prompt": "a fox", "image_url": "https://images.example/fox.png"})
    frames = GenerationRequest(
        "an owl", start_frame="an-earlier-one", end_frame="https://images.example/owl.png"
    )
    lineage = TaskLineage("luma_default", [image, frames, image], sources=["https://cdn.example/a.mp4"])

    assert lineage.inputs == [
        "https://images.example/fox.png",
        "https://images.example/owl.png",
        "https://cdn.example/a.mp4",
    ]
