"""Which network addresses count as the public internet, and which addresses are refused as they stand."""

from __future__ import annotations

import pytest

from airflow_provider_luma.exceptions import LumaUnsafeAddress
from airflow_provider_luma.hooks.connection import LumaSettings
from airflow_provider_luma.hooks.download import download, is_public

SETTINGS = LumaSettings(conn_id="luma_default", base_url="https://gateway.appypie.com", key="key-0123456789")


class TestThePublicInternet:
    @pytest.mark.parametrize(
        "address",
        [
            "8.8.8.8",
            "1.1.1.1",
            "93.184.216.34",
            "172.15.255.255",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "2606:4700:4700::1111",
            "2a00:1450:4001:81b::200e",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:0808:0808::1",
        ],
    )
    def test_is_public(self, address: str) -> None:
        assert is_public(address)

    @pytest.mark.parametrize(
        ("address", "what"),
        [
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("::1", "loopback"),
            ("0.0.0.0", "this host"),
            ("0.1.2.3", "this network"),
            ("::", "this host"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("fc00::1", "unique local"),
            ("fd12:3456::1", "unique local"),
            ("169.254.169.254", "link-local: a cloud's metadata"),
            ("169.254.170.2", "link-local: a container's credentials"),
            ("fe80::1", "link-local"),
            ("fe80::1%eth0", "link-local with its interface"),
            ("fd00:ec2::254", "a cloud's metadata over IPv6"),
            ("100.64.0.1", "carrier-grade NAT"),
            ("100.100.100.200", "a cloud's metadata in carrier-grade NAT"),
            ("192.0.2.1", "documentation"),
            ("198.18.0.1", "benchmarks"),
            ("2001:db8::1", "documentation"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("100::1", "discard"),
        ],
    )
    def test_is_not(self, address: str, what: str) -> None:
        assert not is_public(address), what

    @pytest.mark.parametrize("inner", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.0.1"])
    @pytest.mark.parametrize(
        "wrapped",
        ["::ffff:{dotted}", "64:ff9b::{dotted}", "2002:{words}::1", "2001:0:4136:e378:8000:63bf:{inverted}"],
        ids=["mapped", "NAT64", "6to4", "Teredo"],
    )
    def test_is_not_because_it_is_wrapped(self, wrapped: str, inner: str) -> None:
        parts = [int(part) for part in inner.split(".")]
        words = f"{parts[0]:02x}{parts[1]:02x}:{parts[2]:02x}{parts[3]:02x}"
        other = [255 - part for part in parts]
        inverted = f"{other[0]:02x}{other[1]:02x}:{other[2]:02x}{other[3]:02x}"
        address = wrapped.format(dotted=inner, words=words, inverted=inverted)
        assert not is_public(address), address

    @pytest.mark.parametrize(
        ("address", "what"),
        [
            ("fec0::1", "site-local, which some sites still route"),
            ("::127.0.0.1", "IPv4-compatible"),
            ("::10.0.0.1", "IPv4-compatible"),
            ("::ffff:0:127.0.0.1", "IPv4-translated"),
            ("64:ff9b:1::169.254.169.254", "NAT64 of one's own network"),
            ("64:ff9b:1::10.0.0.1", "NAT64 of one's own network"),
        ],
    )
    def test_is_not_though_python_takes_it_for_global(self, address: str, what: str) -> None:
        """Nothing of the public internet is there: they are deprecated, or of one's own network."""
        assert not is_public(address), what


class TestAnAddressThatIsRefusedAsItStands:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "video.mp4",
            "//host.example/video.mp4",
            "file:///etc/passwd",
            "ftp://host.example/video.mp4",
            "javascript:alert(1)",
            "data:video/mp4;base64,AAAA",
            "https://",
            "https:///video.mp4",
            "https://someone:secret@host.example/video.mp4",
            "https://someone@host.example/video.mp4",
            "https://host.example:99999/video.mp4",
            "https://[::1/video.mp4",
            "https://host.example/a b.mp4",
            "https://host.example/a\r\nX-Header: b",
            "https://host.example/" + "a" * 10_000,
        ],
    )
    def test_is_not_looked_up(self, url: str) -> None:
        with pytest.raises(LumaUnsafeAddress) as refused, download(url, SETTINGS):
            pass
        assert "secret" not in str(refused.value)
