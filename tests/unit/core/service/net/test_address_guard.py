"""Webhooks reach public addresses only, whatever the URL looks like."""

import pytest
from pydantic import ValidationError

from core.service.domain.errors import WebhookUrlRefused
from core.service.net.address_guard import WEBHOOK, allowed_addresses, check_url, is_public, resolve_host
from core.service.settings import Settings

REFUSED = "has no address, or one that is not allowed"


def public(_host: str, _port: int) -> list[str]:
    return ["8.8.8.8", "2606:4700::1111"]


def test_all_addresses_of_a_public_host_are_returned() -> None:
    assert check_url("https://example.com/hook?a=1", resolve=public) == ["8.8.8.8", "2606:4700::1111"]


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://example.com", ("example.com", 443)),
        ("http://example.com", ("example.com", 80)),
        ("http://Example.com:8080/x", ("example.com", 8080)),
        ("http://[2606:4700::1111]:8001/", ("2606:4700::1111", 8001)),
    ],
)
def test_the_host_and_port_of_the_url_are_resolved(url: str, asked: tuple[str, int]) -> None:
    seen: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> list[str]:
        seen.append((host, port))
        return ["8.8.8.8"]

    check_url(url, resolve=resolve)
    assert seen == [asked]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/", "scheme is 'ftp'"),
        ("example.com/hook", "scheme is 'missing'"),
        ("https:///hook", "no host"),
        ("https://", "no host"),
        ("https://user:pass@example.com/", "user name"),
        ("https://@example.com/", "user name"),
        ("https://example.com:0/", "port"),
        ("https://example.com:99999/", "port"),
        ("https://example.com:x/", "port"),
        ("https://exa mple.com/", "characters"),
        ("https://example.com\\@evil.test/", "characters"),
        ("https://example.com/\n", "characters"),
        ("https://exämple.com/", "characters"),
        ("https://[::1/", "cannot be read"),
    ],
)
def test_malformed_urls_are_refused_with_reason_field_and_fix(url: str, reason: str) -> None:
    with pytest.raises(WebhookUrlRefused, match=reason) as caught:
        check_url(url, allow_private=True, resolve=public)
    assert caught.value.field == "webhook_url"
    assert caught.value.fix


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",  # noqa: S104
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1",
        "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:0:7f00:1::", "not an address",
        "168.63.129.16", "100.100.100.200", "192.0.0.192", "169.254.170.2", "169.254.170.23", "fd00:ec2::254",
        "fd20:ce::254", "198.18.0.1", "192.0.2.1", "192.88.99.1", "199.36.153.8", "161.26.0.10", "::7f00:1",
        "::ffff:0:7f00:1", "64:ff9b:1::1", "2001:db8::1", "3fff::1", "5f00::1", "2002:a83f:8110::",
        "::ffff:168.63.129.16", "64:ff9b:1::808:808", "::808:808",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(WebhookUrlRefused, match=REFUSED):
        check_url("https://example.com/", resolve=lambda _host, _port: ["8.8.8.8", address])


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8009/", "http://2130706433/", "http://0x7f.1/", "http://[::1]/"])
def test_loopback_is_found_in_every_spelling_by_the_systems_own_resolver(url: str) -> None:
    with pytest.raises(WebhookUrlRefused, match=REFUSED):
        check_url(url)


def test_private_addresses_pass_where_the_operator_allows_them() -> None:
    assert check_url("http://127.0.0.1:9/hook", allow_private=True) == ["127.0.0.1"]


def test_a_refusal_does_not_tell_the_address() -> None:
    with pytest.raises(WebhookUrlRefused) as caught:
        check_url("https://intranet.test/", resolve=lambda _host, _port: ["10.1.2.3"])
    assert "10.1.2.3" not in caught.value.message


def test_a_host_without_address_is_refused() -> None:
    def unknown(_host: str, _port: int) -> list[str]:
        raise OSError

    with pytest.raises(WebhookUrlRefused, match=REFUSED):
        check_url("https://nowhere.test/", resolve=unknown)


def test_a_label_too_long_for_dns_is_refused() -> None:
    with pytest.raises(WebhookUrlRefused, match=REFUSED):
        check_url(f"https://{'a' * 64}.test/", resolve=resolve_host)


def refusal_of(addresses: list[str]) -> tuple[str, str | None, str | None, str]:
    with pytest.raises(WebhookUrlRefused) as caught:
        check_url("https://intranet.test/", resolve=lambda _host, _port: addresses)
    error = caught.value
    return error.message, error.field, error.fix, error.code


def test_a_host_that_does_not_resolve_is_refused_in_the_very_words_of_one_that_is_private() -> None:
    assert refusal_of([]) == refusal_of(["10.1.2.3"]) == refusal_of(["169.254.169.254"])


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254",
     "fe80::a9fe:a9fe", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::",
     "::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:a9fe:a9:fe00::", "::a83f:8110"],
)  # fmt: skip
def test_cloud_metadata_addresses_are_refused_even_if_private_addresses_are_allowed(address: str) -> None:
    with pytest.raises(WebhookUrlRefused, match=REFUSED):
        check_url("http://metadata.test/", allow_private=True, resolve=lambda _host, _port: ["10.0.0.1", address])


@pytest.mark.parametrize("port", [22, 25, 6379, 9000, 1, 65535])
def test_a_port_that_is_not_allowed_is_refused_before_its_host_is_looked_up(port: int) -> None:
    def resolve(host: str, asked: int) -> list[str]:
        raise AssertionError(f"{host}:{asked} was looked up")

    with pytest.raises(WebhookUrlRefused, match=f"port {port} is not allowed") as caught:
        check_url(f"https://example.com:{port}/", resolve=resolve)
    assert "LONGTAKE_ALLOWED_URL_PORTS" in str(caught.value.fix)


@pytest.mark.parametrize("port", ["", ":80", ":443", ":8000", ":8999"])
def test_ports_of_web_servers_are_allowed(port: str) -> None:
    assert check_url(f"https://example.com{port}/", resolve=public)


def test_the_operator_chooses_the_ports() -> None:
    settings = Settings(allowed_url_ports="6379, 9000-9001")
    assert allowed_addresses("http://example.com:9001/", WEBHOOK, settings, public)
    for port in (80, 9002):
        with pytest.raises(WebhookUrlRefused, match="not allowed"):
            allowed_addresses(f"http://example.com:{port}/", WEBHOOK, settings, public)
    assert allowed_addresses("http://example.com:1/", WEBHOOK, Settings(allowed_url_ports="all"), public)


@pytest.mark.parametrize("ports", ["", "http", "0", "80-", "90-80", "65536", "80;443"])
def test_ports_that_cannot_be_read_are_refused_at_start(ports: str) -> None:
    with pytest.raises(ValidationError, match="port"):
        Settings(allowed_url_ports=ports)


def test_what_a_long_name_is_refused_with_is_short() -> None:
    name = ".".join(["a" * 60] * 30)
    with pytest.raises(WebhookUrlRefused) as caught:
        check_url(f"https://{name}/", resolve=lambda _host, _port: [])
    assert len(caught.value.message) < 400
