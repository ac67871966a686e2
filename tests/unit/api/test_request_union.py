"""The fields of a request that not every gateway takes: their forms, what templates give, and who is who."""

from __future__ import annotations

import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_luma.api.models import MAX_EXTRA_BODY, MAX_REQUEST_ID_LENGTH, GenerationRequest
from airflow_provider_luma.exceptions import LumaInvalidRequest

IMAGE, LAST_IMAGE = "https://host/a.png", "https://host/z.png"
EARLIER = "9f1b2c3d-0000-4000-8000-426614174abc"
ABSENT = pytest.mark.parametrize("absent", [None, "", "None", "  ", " None\n"], ids=repr)


class TestWords:
    @pytest.mark.parametrize(
        "model",
        ["ray-2", "ray-flash-2", "ray-3.2", "Ray_4:hdr", "2", "x" * 100],
        ids=lambda model: model[:12],
    )
    def test_these_are_models(self, model):
        assert GenerationRequest("a fox", model=model).model == model

    @pytest.mark.parametrize(
        "model",
        ["", "-ray", "ray 2", " ray-2", "ray-2\n", "ray/2", "räy", "x" * 101, 2, True, ["ray-2"], b"ray-2"],
        ids=lambda model: repr(model)[:12],
    )
    def test_these_are_not(self, model):
        with pytest.raises(LumaInvalidRequest, match=r"^model "):
            GenerationRequest("a fox", model=model)

    @pytest.mark.parametrize("duration", ["1s", "5s", "9s", "10s", "9999s"])
    def test_these_are_durations(self, duration):
        assert GenerationRequest("a fox", duration=duration).duration == duration

    @pytest.mark.parametrize(
        "duration",
        [
            "",
            "5",
            "s",
            "0s",
            "05s",
            "-5s",
            "5.5s",
            "5 s",
            "5S",
            "5sec",
            "5s ",
            "10000s",
            "\N{ARABIC-INDIC DIGIT FIVE}s",
            5,
            5.0,
            True,
        ],
        ids=repr,
    )
    def test_these_are_no_durations(self, duration):
        with pytest.raises(LumaInvalidRequest, match=r"^duration "):
            GenerationRequest("a fox", duration=duration)

    @pytest.mark.parametrize("resolution", ["360p", "540p", "720p", "1080p", "4k", "8k", "16k", "99999p"])
    def test_these_are_resolutions(self, resolution):
        assert GenerationRequest("a fox", resolution=resolution).resolution == resolution

    @pytest.mark.parametrize(
        "resolution",
        [
            "",
            "720",
            "p",
            "0p",
            "5p",
            "0720p",
            "720P",
            "4K",
            "0k",
            "100k",
            "100000p",
            "1280x720",
            "720p\n",
            720,
        ],
        ids=repr,
    )
    def test_these_are_no_resolutions(self, resolution):
        with pytest.raises(LumaInvalidRequest, match=r"^resolution "):
            GenerationRequest("a fox", resolution=resolution)

    @pytest.mark.parametrize("concepts", [(), ("dolly_zoom",), ("a", "b.c", "d-e:f")], ids=str)
    def test_these_are_concepts(self, concepts):
        assert GenerationRequest("a fox", concepts=concepts).concepts == concepts

    @pytest.mark.parametrize(
        "concepts",
        [["a"], "a", None, ("",), ("two words",), ("a", 7), (None,), ({"key": "a"},), {"a"}],
        ids=repr,
    )
    def test_these_are_no_concepts(self, concepts):
        with pytest.raises(LumaInvalidRequest, match=r"^concepts "):
            GenerationRequest("a fox", concepts=concepts)

    @pytest.mark.parametrize("name", ["model", "duration", "resolution"])
    def test_that_are_refused_are_quoted_within_bounds(self, name):
        with pytest.raises(LumaInvalidRequest, match=rf"^{name} .*oddodd") as refused:
            GenerationRequest("a fox", **{name: "odd " + "odd" * 1000})

        assert len(str(refused.value)) < 300


class TestFrames:
    def test_an_address_as_a_start_frame_is_an_image(self):
        as_frame, as_image = (
            GenerationRequest("a fox", start_frame=IMAGE),
            GenerationRequest("a fox", image_url=IMAGE),
        )

        assert as_frame == as_image
        assert (as_frame.start_frame, as_frame.image_url) == (None, IMAGE)
        assert as_frame.fingerprint() == as_image.fingerprint()

    def test_it_is_out_of_a_template_too(self):
        rendered = GenerationRequest.from_rendered("a fox", start_frame=f" {IMAGE}\n", image_url="None")

        assert rendered == GenerationRequest("a fox", image_url=IMAGE)

    @pytest.mark.parametrize("start_frame", [EARLIER, LAST_IMAGE, IMAGE])
    def test_two_first_frames_are_an_error(self, start_frame):
        with pytest.raises(LumaInvalidRequest, match="start_frame and image_url"):
            GenerationRequest("a fox", image_url=IMAGE, start_frame=start_frame)

    @pytest.mark.parametrize("name", ["start_frame", "end_frame"])
    def test_an_earlier_generation_is_one(self, name):
        assert getattr(GenerationRequest("a fox", **{name: EARLIER}), name) == EARLIER

    def test_an_address_is_a_last_one(self):
        request = GenerationRequest("a fox", image_url=IMAGE, end_frame=LAST_IMAGE)

        assert (request.image_url, request.end_frame) == (IMAGE, LAST_IMAGE)

    @pytest.mark.parametrize("name", ["start_frame", "end_frame"])
    @pytest.mark.parametrize(
        "frame",
        ["", " ", "two words", f" {EARLIER}", f"{EARLIER}\n", "x" * (MAX_REQUEST_ID_LENGTH + 1),
         "half \ud800", "ftp://host/a.png", "https://", "https://user:swordfish@host/a.png", "s3://bucket/a.png",
         "https://host/" + "x" * 9000, 7, True, b"id", [IMAGE], {"url": IMAGE}],
        ids=lambda frame: ascii(frame)[:24],
    )  # fmt: skip
    def test_anything_else_is_none_and_is_not_repeated(self, name, frame):
        with pytest.raises(LumaInvalidRequest, match=rf"^{name} ") as refused:
            GenerationRequest("a fox", **{name: frame})

        assert "swordfish" not in str(refused.value)


class TestExtraBody:
    @pytest.mark.parametrize(
        "extra",
        [{"seed": 7}, {"a": {"b": [1, 1.5, None, True, "ü"]}}, {"": ""}, {"a": {}}, {"big": 10**40}],
        ids=str,
    )
    def test_holds_what_json_has(self, extra):
        assert GenerationRequest("a fox", extra_body=extra).extra_body == extra

    @pytest.mark.parametrize(
        "extra", ["{}", [], [("a", 1)], 7, True, (), {1: "a"}, {None: 1}, {"a": 1, b"b": 2}], ids=repr
    )
    def test_is_an_object_with_text_for_names(self, extra):
        with pytest.raises(LumaInvalidRequest, match=r"^extra_body must be an object"):
            GenerationRequest("a fox", extra_body=extra)

    @pytest.mark.parametrize(
        "extra",
        [{"a": float("nan")}, {"a": float("inf")}, {"a": [-float("inf")]}, {"a": {1, 2}}, {"a": b"bytes"},
         {"a": object()}, {"a": {"b": GenerationRequest}}, {"a": {(1, 2): 3}}, {"a": 10**5000}],
        ids=["nan", "inf", "minus-inf", "set", "bytes", "object", "class", "tuple-as-a-name", "huge"],
    )  # fmt: skip
    def test_holds_nothing_else(self, extra):
        with pytest.raises(LumaInvalidRequest, match=r"^extra_body must hold what JSON has"):
            GenerationRequest("a fox", extra_body=extra)

    def test_that_holds_itself_is_refused(self):
        extra: dict[str, object] = {}
        extra["self"] = extra

        with pytest.raises(LumaInvalidRequest, match=r"^extra_body must hold what JSON has"):
            GenerationRequest("a fox", extra_body=extra)

    def test_is_bounded(self):
        around = len(json.dumps({"a": ""}))

        assert GenerationRequest("a fox", extra_body={"a": "x" * (MAX_EXTRA_BODY - around)}).extra_body
        with pytest.raises(LumaInvalidRequest, match=r"^extra_body has 65,537 characters"):
            GenerationRequest("a fox", extra_body={"a": "x" * (MAX_EXTRA_BODY - around + 1)})

    @pytest.mark.parametrize(
        "extra",
        [
            pytest.param({"a": {"b": 1}}, id="plain"),
            pytest.param({"a": {1: 2}}, id="number-as-a-name"),
            pytest.param(MappingProxyType({"a": 1}), id="mapping"),
            pytest.param({"a": {1: 2, "b": 3}}, id="mixed-names"),
        ],
    )
    def test_that_is_taken_has_a_fingerprint(self, extra):
        assert len(GenerationRequest("a fox", extra_body=extra).fingerprint()) == 64

    def test_of_any_depth_is_refused_or_has_a_fingerprint(self):
        deep: object = 1
        for depth in range(3000):
            deep = {"a": deep}
            if depth % 50:
                continue
            try:
                request = GenerationRequest("a fox", extra_body=deep)
            except LumaInvalidRequest:
                continue

            assert len(request.fingerprint()) == 64

    @pytest.mark.parametrize("extra", [{"a": "\ud800"}, {"\ud800": 1}], ids=ascii)
    def test_cannot_hold_half_of_a_character(self, extra):
        with pytest.raises(LumaInvalidRequest, match=r"^extra_body"):
            GenerationRequest("a fox", extra_body=extra)

    def test_that_is_empty_is_none(self):
        """A template that gives {} instead of nothing must not turn a request into another."""
        assert (
            GenerationRequest("a fox", extra_body={}).fingerprint()
            == GenerationRequest("a fox").fingerprint()
        )


class TestRenderedTemplates:
    @pytest.mark.parametrize("value", [5, "5", "5s", " 5 ", " 5s\n"], ids=repr)
    def test_a_duration_is_seconds(self, value):
        assert GenerationRequest.from_rendered("a fox", duration=value).duration == "5s"

    @pytest.mark.parametrize(
        "value", [0, -5, 5.0, True, "five", "5 s", "\N{ARABIC-INDIC DIGIT FIVE}", "05", [5], {}], ids=repr
    )
    def test_what_is_no_duration_is_refused_by_name(self, value):
        with pytest.raises(LumaInvalidRequest, match=r"^duration "):
            GenerationRequest.from_rendered("a fox", duration=value)

    @pytest.mark.parametrize(
        "value",
        ["handheld,dolly_zoom", " handheld , dolly_zoom\n", '["handheld", "dolly_zoom"]',
         ' [ "handheld", " dolly_zoom " ] ', ["handheld", "dolly_zoom"], ("handheld", "dolly_zoom")],
        ids=repr,
    )  # fmt: skip
    def test_concepts_are_a_list_or_a_text_of_one(self, value):
        assert GenerationRequest.from_rendered("a fox", concepts=value).concepts == ("handheld", "dolly_zoom")

    @pytest.mark.parametrize("value", ["handheld", ["handheld"], '["handheld"]'], ids=repr)
    def test_one_concept_is_a_list_of_one(self, value):
        assert GenerationRequest.from_rendered("a fox", concepts=value).concepts == ("handheld",)

    @pytest.mark.parametrize("value", [[], (), "[]"], ids=repr)
    def test_no_concepts_are_none(self, value):
        assert GenerationRequest.from_rendered("a fox", concepts=value) == GenerationRequest("a fox")

    @pytest.mark.parametrize(
        "value",
        [
            "a,,b",
            "a, two words",
            "[",
            "['a']",
            '[{"key": "a"}]',
            "[1]",
            [None],
            {"a": 1},
            7,
            True,
            "[" * 100_000,
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_what_are_no_concepts_is_refused_by_name(self, value):
        with pytest.raises(LumaInvalidRequest, match=r"^concepts "):
            GenerationRequest.from_rendered("a fox", concepts=value)

    @pytest.mark.parametrize(
        "value",
        [{"seed": 7}, '{"seed": 7}', ' {"seed":\n7} ', MappingProxyType({"seed": 7})],
        ids=["dict", "json", "padded", "mapping"],
    )
    def test_an_extra_body_is_an_object_or_its_json(self, value):
        assert GenerationRequest.from_rendered("a fox", extra_body=value).extra_body == {"seed": 7}

    @pytest.mark.parametrize(
        "value",
        ["seed", "{'seed': 7}", "[1]", "7", "null", '{"seed": NaN}', '{"seed": Infinity}', '{"seed": 7', [1],
         7, True, '{"a":' * 100_000],
        ids=lambda value: repr(value)[:20],
    )  # fmt: skip
    def test_what_is_no_extra_body_is_refused_by_name(self, value):
        with pytest.raises(LumaInvalidRequest, match=r"^extra_body "):
            GenerationRequest.from_rendered("a fox", extra_body=value)

    @ABSENT
    @pytest.mark.parametrize(
        "name",
        [
            "image_url",
            "model",
            "duration",
            "resolution",
            "start_frame",
            "end_frame",
            "concepts",
            "extra_body",
        ],
    )
    def test_what_rendered_to_nothing_is_absent(self, name, absent):
        assert GenerationRequest.from_rendered("a fox", **{name: absent}) == GenerationRequest("a fox")

    @pytest.mark.parametrize(
        ("name", "value", "meant"),
        [
            ("model", " ray-2\n", "ray-2"),
            ("resolution", " 720p ", "720p"),
            ("start_frame", f" {EARLIER}\n", EARLIER),
            ("end_frame", f" {LAST_IMAGE}\n", LAST_IMAGE),
        ],
    )
    def test_white_space_around_a_word_is_borne(self, name, value, meant):
        assert getattr(GenerationRequest.from_rendered("a fox", **{name: value}), name) == meant

    @pytest.mark.parametrize(
        ("asked", "meant"),
        [
            ({"prompt": "a fox", "duration": 9}, GenerationRequest("a fox", duration="9s")),
            ({"prompt": "a fox", "model": "ray-2"}, GenerationRequest("a fox", model="ray-2")),
            ({"prompt": "a fox", "model": None}, GenerationRequest("a fox")),
        ],
        ids=str,
    )
    def test_a_mapping_goes_before_the_defaults(self, asked, meant):
        defaults = {"model": "ray-flash-2"} if "model" in asked else {}

        assert GenerationRequest.of(asked, **defaults) == meant

    def test_a_field_that_there_is_not_is_refused(self):
        with pytest.raises(LumaInvalidRequest, match=r"no field 'durations'.*duration"):
            GenerationRequest.of({"prompt": "a fox", "durations": 5})

    @given(
        st.dictionaries(
            st.sampled_from(
                ["model", "duration", "resolution", "start_frame", "end_frame", "concepts", "extra_body"]
            ),
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(st.characters(codec="utf-8"))
            | st.binary()
            | st.lists(st.text(max_size=5))
            | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), st.integers()),
        )
    )
    def test_anything_is_a_request_or_a_bad_one(self, values):
        try:
            request = GenerationRequest.from_rendered("a fox", **values)
        except LumaInvalidRequest:
            return

        assert request.fingerprint() == GenerationRequest.from_rendered("a fox", **values).fingerprint()


NEW = {
    "model": "ray-2",
    "duration": "5s",
    "resolution": "720p",
    "start_frame": EARLIER,
    "end_frame": EARLIER,
    "concepts": ("handheld",),
    "extra_body": {"seed": 7},
}


class TestFingerprint:
    @pytest.mark.parametrize(
        ("fields", "fingerprint"),
        [
            ({}, "48b66f8b435fba65fa9ddd3d959a5e7998e2ff861d9fcae7a93dca78ea14cfed"),
            (
                {"aspect_ratio": "9:16", "loop": True},
                "4900386cbc8d448cb01ecdbdabb9086f55ce315284b07daf71176b053357abd0",
            ),
            ({"image_url": IMAGE}, "71cabec702563eb78be44bc7169f5197b804cb8f378e09c6a6cd96b9d8146392"),
        ],
        ids=["prompt", "ratio-and-loop", "image"],
    )
    def test_of_what_the_first_release_took_is_what_it_was_there(self, fields, fingerprint):
        """Computed with the code of the commit cfa0647: another value would buy every video again."""
        assert GenerationRequest("a fox", **fields).fingerprint() == fingerprint

    def test_of_new_fields_at_their_defaults_is_that_of_none(self):
        given = GenerationRequest(
            "a fox",
            model=None,
            duration=None,
            resolution=None,
            start_frame=None,
            end_frame=None,
            concepts=(),
            extra_body=None,
        )

        assert given.fingerprint() == GenerationRequest("a fox").fingerprint()

    def test_is_another_for_each_new_field(self):
        requests = [
            GenerationRequest("a fox"),
            *(GenerationRequest("a fox", **{name: NEW[name]}) for name in NEW),
        ]

        assert len({request.fingerprint() for request in requests}) == len(NEW) + 1

    @pytest.mark.parametrize(
        ("name", "other"),
        [
            ("model", "ray-flash-2"),
            ("duration", "9s"),
            ("resolution", "4k"),
            ("start_frame", "another"),
            ("end_frame", "another"),
            ("concepts", ("dolly_zoom",)),
            ("concepts", ("handheld", "dolly_zoom")),
            ("extra_body", {"seed": 8}),
            ("extra_body", {"seed": 7, "more": None}),
        ],
        ids=str,
    )
    def test_is_another_for_another_value(self, name, other):
        one, two = (
            GenerationRequest("a fox", **{name: NEW[name]}),
            GenerationRequest("a fox", **{name: other}),
        )

        assert one.fingerprint() != two.fingerprint()

    def test_does_not_depend_on_the_order_of_an_extra_body(self):
        one = GenerationRequest("a fox", extra_body={"a": {"x": 1, "y": 2}, "b": 1})
        two = GenerationRequest("a fox", extra_body={"b": 1, "a": {"y": 2, "x": 1}})

        assert one.fingerprint() == two.fingerprint()

    def test_of_a_rendered_request_is_that_of_what_it_means(self):
        rendered = GenerationRequest.from_rendered(
            "a fox", duration=5, concepts="handheld", extra_body='{"seed": 7}', loop="true"
        )
        meant = GenerationRequest(
            "a fox", duration="5s", concepts=("handheld",), extra_body={"seed": 7}, loop=True
        )

        assert rendered.fingerprint() == meant.fingerprint()
