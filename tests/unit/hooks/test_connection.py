"""An Airflow connection becomes settings, or a clear word that names the field. Nothing is sent."""

from __future__ import annotations

import json
import logging
import re

import pytest
from airflow.models.connection import Connection as StoredConnection
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_luma.api.cost import PriceTable
from airflow_provider_luma.exceptions import LumaConfigurationError
from airflow_provider_luma.hooks.connection import LumaSettings, is_loopback, settings_from

KEY = "0123456789abcdef0123456789abcdef"
PRICES = {"currency": "USD", "text_to_video": 0.4}


def connection(**fields: object) -> Connection:
    extra = fields.pop("extra", None)
    if isinstance(extra, dict):
        extra = json.dumps(extra)
    values = {"conn_id": "luma_x", "conn_type": "luma", "password": KEY, "extra": extra, **fields}
    return Connection(**values)  # type: ignore[arg-type]


def settings_of(**fields: object) -> LumaSettings:
    return settings_from(connection(**fields), "luma_x")


def refused(**fields: object) -> str:
    with pytest.raises(LumaConfigurationError) as error:
        settings_of(**fields)
    text = str(error.value)
    assert "luma_x" in text, "it does not say which connection"
    assert "Nothing was sent" in text
    assert KEY not in text
    return text


class TestDefaults:
    def test_are_those_of_the_design(self):
        found = settings_of()

        assert found.base_url == "https://gateway.appypie.com"
        assert (found.timeout, found.connect_timeout) == (30, 10)
        assert (found.status_id_field, found.max_concurrent_requests) == ("auto", 16)
        assert (found.requests_per_second, found.retry_generate_on_503) == (None, False)
        assert (found.typical_seconds, found.price_table) == (60, None)
        assert (found.verify, found.cert, dict(found.proxies), found.trust_env) == (True, None, {}, True)

    @pytest.mark.parametrize("extra", [None, "", "  ", "{}"])
    def test_no_extra_is_no_extra(self, extra):
        assert settings_of(extra=extra) == settings_of()


class TestTheAccount:
    def test_is_another_with_another_key_host_or_gateway(self):
        accounts = {
            settings_of().account,
            settings_of(password=f"{KEY}-rotated").account,
            settings_of(host="https://elsewhere.example").account,
            settings_of(extra='{"gateway": "luma"}').account,
        }

        assert len(accounts) == 4
        assert settings_of(extra='{"timeout": 3}').account == settings_of().account

    def test_gives_neither_key_nor_host_away(self):
        account = settings_of(extra='{"gateway": "luma"}').account

        assert re.fullmatch("luma:[0-9a-f]{16}", account)


class TestTheKey:
    def test_is_in_no_repr(self):
        found = settings_of()

        assert found.key == KEY
        assert KEY not in repr(found)
        assert KEY not in str(found)

    def test_nor_is_a_proxys_password(self):
        found = settings_of(extra={"proxies": {"https": "http://someone:swordfish@proxy:3128"}})

        assert found.proxies["https"] == "http://someone:swordfish@proxy:3128"
        assert "swordfish" not in repr(found)

    def test_white_space_of_a_paste_is_borne(self):
        assert settings_of(password=f" {KEY}\n").key == KEY

    @pytest.mark.parametrize("password", [None, "", "   ", "\n"])
    def test_must_be_there(self, password):
        text = refused(password=password)

        assert "no subscription key" in text
        assert "password" in text

    @pytest.mark.parametrize(
        "password",
        ["hammer\nX-Evil: 1", "hammer head", "hammerhéad", "hammer\x00head", "hammer\thead"],
        ids=ascii,
    )
    def test_that_no_header_can_carry_is_refused_and_not_repeated(self, password):
        text = refused(password=password)

        assert "password" in text
        assert "hammer" not in text


class TestTheHost:
    @pytest.mark.parametrize(
        ("host", "port", "base_url"),
        [
            (None, None, "https://gateway.appypie.com"),
            ("", None, "https://gateway.appypie.com"),
            ("gateway.example", None, "https://gateway.example"),
            ("gateway.example:8443", None, "https://gateway.example:8443"),
            ("gateway.example", 8443, "https://gateway.example:8443"),
            ("https://gateway.example", 8443, "https://gateway.example:8443"),
            ("https://gateway.example/", None, "https://gateway.example"),
            ("https://gateway.example/luma/", None, "https://gateway.example/luma"),
            ("HTTPS://gateway.example", None, "https://gateway.example"),
            ("http://127.0.0.1:8077", None, "http://127.0.0.1:8077"),
            ("http://localhost:8077", None, "http://localhost:8077"),
            ("http://[::1]:8077", None, "http://[::1]:8077"),
            (" https://gateway.example ", None, "https://gateway.example"),
        ],
    )
    def test_becomes_the_base_address(self, host, port, base_url):
        assert settings_of(host=host, port=port).base_url == base_url

    @pytest.mark.parametrize("schema", ["http", "https", "ftp"])
    def test_the_hidden_schema_field_changes_nothing(self, schema):
        assert settings_of(host="gateway.example", schema=schema).base_url == "https://gateway.example"

    @pytest.mark.parametrize(
        "host",
        ["ftp://gateway.example", "file:///etc/passwd", "https://", "https:///path", "https://a b", "https://a\tb",
         "https://gateway.example?x=1", "https://gateway.example#x", "https://gateway.example:port",
         "https://gateway.example:99999", "https://[::1"],
    )  # fmt: skip
    def test_that_is_no_base_address_is_refused(self, host):
        assert "host" in refused(host=host)

    def test_with_credentials_is_refused_and_they_are_not_repeated(self):
        text = refused(host="https://someone:swordfish@gateway.example")

        assert "host" in text
        assert "swordfish" not in text

    @pytest.mark.parametrize(
        "host",
        ["http://gateway.appypie.com", "http://10.0.0.1", "http://127.0.0.1.evil.example", "http://localhost.evil",
         "http://0.0.0.0", "http://evil.example/127.0.0.1", "http://[2001:db8::1]", "HTTP://gateway.example"],
    )  # fmt: skip
    def test_plain_http_off_loopback_would_show_the_key(self, host):
        text = refused(host=host)

        assert "http" in text
        assert "allow_http" in text

    def test_unless_that_is_allowed(self):
        found = settings_of(host="http://gateway.internal", extra={"allow_http": True})

        assert found.base_url == "http://gateway.internal"

    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.9.9.9", "::1"]
    )
    def test_loopback_is(self, host):
        assert is_loopback(host)

    @pytest.mark.parametrize(
        "host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.1.evil", "[::1]x"]
    )
    def test_loopback_is_not(self, host):
        assert not is_loopback(host)


class TestExtras:
    @pytest.mark.parametrize(
        ("extra", "field", "value"),
        [
            ({"timeout": 5}, "timeout", 5.0),
            ({"timeout": "5.5"}, "timeout", 5.5),
            ({"timeout": ""}, "timeout", 30.0),
            ({"connect_timeout": 2}, "connect_timeout", 2.0),
            ({"status_id_field": "task_id"}, "status_id_field", "task_id"),
            ({"status_id_field": "requestId"}, "status_id_field", "requestId"),
            ({"max_concurrent_requests": 4}, "max_concurrent_requests", 4),
            ({"max_concurrent_requests": "4"}, "max_concurrent_requests", 4),
            ({"requests_per_second": 2.5}, "requests_per_second", 2.5),
            ({"typical_seconds": "180"}, "typical_seconds", 180.0),
            ({"retry_generate_on_503": True}, "retry_generate_on_503", True),
            ({"retry_generate_on_503": "true"}, "retry_generate_on_503", True),
            ({"retry_generate_on_503": "False"}, "retry_generate_on_503", False),
            ({"retry_generate_on_503": ""}, "retry_generate_on_503", False),
            ({"trust_env": False}, "trust_env", False),
            ({"verify": False}, "verify", False),
            ({"verify": "false"}, "verify", False),
            ({"verify": "true"}, "verify", True),
            ({"verify": "/etc/ca.pem"}, "verify", "/etc/ca.pem"),
            ({"cert": "/etc/client.pem"}, "cert", "/etc/client.pem"),
            ({"cert": "/etc/a,b.pem"}, "cert", "/etc/a,b.pem"),
            ({"cert": "/etc/client.pem, /etc/key.pem"}, "cert", ("/etc/client.pem", "/etc/key.pem")),
            ({"cert": ["/etc/client.pem", "/etc/key.pem"]}, "cert", ("/etc/client.pem", "/etc/key.pem")),
            ({"proxies": {"https": "http://proxy:3128"}}, "proxies", {"https": "http://proxy:3128"}),
            ({"proxies": '{"https": "http://proxy:3128"}'}, "proxies", {"https": "http://proxy:3128"}),
            ({"price_table": PRICES}, "price_table", PriceTable.of(PRICES)),
            ({"price_table": json.dumps(PRICES)}, "price_table", PriceTable.of(PRICES)),
            ({"price_table": ""}, "price_table", None),
            ({"price_table": {}}, "price_table", None),
            ({"price_table": "{}"}, "price_trouble", None),
            ({"price_table": None}, "price_table", None),
        ],
        ids=repr,
    )
    def test_are_taken_in_the_form_that_forms_and_files_give_them(self, extra, field, value):
        assert getattr(settings_of(extra=extra), field) == value

    @pytest.mark.parametrize(
        "extra",
        [
            {"timeout": 0},
            {"timeout": -1},
            {"timeout": 1e9},
            {"timeout": "soon"},
            {"timeout": True},
            {"timeout": float("nan")},
            {"timeout": [30]},
            {"connect_timeout": 0},
            {"connect_timeout": float("inf")},
            {"status_id_field": "id"},
            {"status_id_field": 7},
            {"max_concurrent_requests": 0},
            {"max_concurrent_requests": 1.5},
            {"max_concurrent_requests": 10**400},
            {"requests_per_second": -1},
            {"requests_per_second": "many"},
            {"typical_seconds": 0},
            {"typical_seconds": "a minute"},
            {"retry_generate_on_503": "perhaps"},
            {"retry_generate_on_503": 2},
            {"allow_http": "maybe"},
            {"allow_http": []},
            {"trust_env": "nobody"},
            {"verify": 7},
            {"cert": 7},
            {"cert": ["a", "b", "c"]},
            {"cert": [1, 2]},
            {"cert": "/etc/client.pem,"},
            {"cert": "/a,/b,/c"},
            {"proxies": "http://proxy:3128"},
            {"proxies": ["http://proxy:3128"]},
            {"proxies": {"https": None}},
        ],
        ids=lambda extra: repr(extra)[:40],
    )
    def test_a_bad_value_is_refused_by_name(self, extra):
        assert repr(next(iter(extra))) in refused(extra=extra)

    @pytest.mark.parametrize("extra", ["[]", '"text"', "7"])
    def test_an_extra_that_is_no_object_is_refused(self, extra):
        assert "extra" in refused(extra=extra)

    def test_a_bad_proxy_is_not_repeated(self):
        assert "swordfish" not in refused(extra={"proxies": "http://someone:swordfish@proxy:3128"})

    def test_unknown_ones_are_ignored_with_one_warning_that_shows_names_and_no_values(self, caplog):
        with caplog.at_level(logging.WARNING, logger="airflow_provider_luma.hooks.connection"):
            settings_of(extra={"subscription_key": "swordfish", "X-Header": "1", "timeout": 5})

        (warning,) = [record.getMessage() for record in caplog.records]
        assert "subscription_key" in warning
        assert "X-Header" in warning
        assert "timeout" not in warning
        assert "swordfish" not in warning


class TestATestOfTheConnection:
    """The UI's and the REST API's test hand the connection over as a URI, in an environment variable."""

    @pytest.mark.parametrize(
        ("host", "port"),
        [
            (None, None),
            (None, 443),
            ("", 0),
            ("http://127.0.0.1:8077", None),
            ("http://127.0.0.1", 8077),
            ("https://gateway.example/base", None),
            ("https://gateway.example/base", 8443),
            ("gateway.example", None),
            ("gateway.example/base", 443),
            ("http://[::1]:8077", None),
            ("[::1]", 8077),
        ],
    )
    def test_has_the_settings_of_the_connection(self, host, port):
        extra = {"timeout": 5, "proxies": {"https": "http://proxy:3128"}, "cert": None, "verify": "/ca.pem"}
        fields = {"host": host, "port": port, "password": "k/+=%@:?#&key012", "extra": json.dumps(extra)}
        stored = StoredConnection(conn_id="luma_x", conn_type="luma", **fields)
        handed_over = StoredConnection(conn_id="luma_x", uri=stored.get_uri())

        expected, found = (settings_from(one, "luma_x") for one in (stored, handed_over))

        assert (found, found.key) == (expected, expected.key)


class TestPricesThatAreNone:
    @pytest.mark.parametrize(
        "prices",
        [0.4, "0.4", "{", [], {"currency": "USD"}, {"currency": "US$", "text_to_video": 1}],
        ids=repr,
    )
    def test_are_told_of_and_break_nothing_that_needs_none(self, prices):
        found = settings_of(extra={"price_table": prices})

        assert found.price_table is None
        assert "extra 'price_table' must" in found.price_trouble
        assert found == settings_of(extra={"price_table": prices}), "it would look like a changed connection"
