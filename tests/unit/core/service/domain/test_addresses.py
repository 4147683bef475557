"""Lists of hosts, origins and networks, as settings and headers write them."""

import pytest
from pydantic import ValidationError

from core.service.domain.addresses import Authority, address_of, client_network, items_of, networks_of
from core.service.settings import Settings


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("video.example", "video.example", None),
        ("video.example:8443", "video.example", 8443),
        ("192.0.2.1:80", "192.0.2.1", 80),
        ("[2001:db8::1]:80", "[2001:db8::1]", 80),
        ("my_box", "my_box", None),
        ("localhost:", "localhost", None),
        ("[::1]:", "[::1]", None),
    ],
)
def test_a_host_and_its_port(text: str, host: str, port: int | None) -> None:
    assert Authority.parse(text) == Authority(host, port)
    assert str(Authority(host, port)) == text.removesuffix(":")


@pytest.mark.parametrize(
    "text", ["", "a b", "a/b", "u@a", "a:x", "a:65536", "[zz]", "[::1", "::1", "é", "a" * 254, "a\n"]
)
def test_what_is_no_host(text: str) -> None:
    assert Authority.parse(text) is None


def test_lists_have_commas_and_may_be_empty() -> None:
    assert items_of(" a, b ,,") == ("a", "b")
    assert items_of(None) == items_of("") == networks_of(" ") == ()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", None),
        ("video.example", None),
        ("", None),
    ],
)
def test_the_address_of_a_client(text: str, address: str | None) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_one_client_is_an_ipv4_address_or_an_ipv6_network(host: str, client: str) -> None:
    assert client_network(host) == client


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("trusted_proxies", "10.0.0.0/8, proxy.example"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("allowed_hosts", "https://video.example"),
        ("allowed_hosts", "video.example:443"),
        ("allowed_hosts", "a b"),
        ("cors_origins", "app.example"),
        ("cors_origins", "https://app.example/path"),
        ("public_base_url", "video.example"),
        ("public_base_url", "ftp://video.example"),
        ("public_base_url", "https://"),
        ("public_base_url", "https:///path"),
        ("public_base_url", "https://user@video.example"),
        ("public_base_url", "https://video.example:99999"),
        ("public_base_url", "https://video.example/?a=b"),
        ("public_base_url", "https://video.example/#a"),
        ("public_base_url", "https://video.example/a b"),
        ("public_base_url", "https://video.example\n"),
        ("log_level", "LOUD"),
        ("log_level", ""),
    ],
)
def test_a_setting_that_cannot_be_is_refused_at_start(setting: str, text: str) -> None:
    with pytest.raises(ValidationError, match=setting):
        Settings(**{setting: text})  # pyright: ignore[reportArgumentType] - one setting at a time


def test_settings_are_lists_with_commas() -> None:
    settings = Settings(
        trusted_proxies="10.0.0.0/8, ::1", allowed_hosts="video.example, *.lan.example, *", cors_origins="*"
    )
    assert len(networks_of(settings.trusted_proxies)) == 2
    assert Settings(allowed_hosts="", trusted_proxies="", cors_origins="").allowed_hosts == ""


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://video.example", "https://video.example"),
        ("http://192.0.2.1:8000//", "http://192.0.2.1:8000"),
        ("HTTPS://[2001:db8::1]/longtake/", "HTTPS://[2001:db8::1]/longtake"),
        ("", ""),
    ],
)
def test_the_base_of_links_has_no_slash_at_its_end(text: str, base: str) -> None:
    assert Settings(public_base_url=text).public_base_url == base


def test_log_levels_are_taken_in_any_case() -> None:
    assert Settings(log_level="debug").log_level == "DEBUG"
