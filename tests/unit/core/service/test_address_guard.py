"""Webhooks reach public addresses only, whatever the URL looks like."""

import pytest

from core.service.address_guard import check_url, is_public, resolve_host
from core.service.errors import WebhookUrlRefused


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
        ("http://[2606:4700::1111]:81/", ("2606:4700::1111", 81)),
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
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(WebhookUrlRefused, match="not public"):
        check_url("https://example.com/", resolve=lambda _host, _port: ["8.8.8.8", address])


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://2130706433/", "http://0x7f.1/", "http://[::1]/"])
def test_loopback_is_found_in_every_spelling_by_the_systems_own_resolver(url: str) -> None:
    with pytest.raises(WebhookUrlRefused, match="not public"):
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

    with pytest.raises(WebhookUrlRefused, match="no address"):
        check_url("https://nowhere.test/", resolve=unknown)


def test_a_label_too_long_for_dns_is_refused() -> None:
    with pytest.raises(WebhookUrlRefused, match="no address"):
        check_url(f"https://{'a' * 64}.test/", resolve=resolve_host)
