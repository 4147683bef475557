"""URLs of Redis that cannot be read: the setting and what is allowed, never a part of the URL."""

from __future__ import annotations

import pytest

from core.service.domain.errors import StoreMisconfigured
from core.service.redis.client import connect
from core.service.redis.urls import BROKER


@pytest.mark.parametrize("setting", ["LONGTAKE_REDIS_URL", BROKER])
@pytest.mark.parametrize("url", ["", "  "])
def test_an_empty_url_is_told_as_empty(url: str, setting: str) -> None:
    with pytest.raises(StoreMisconfigured) as refused:
        connect(url, setting=setting)
    assert refused.value.message == f"{setting} is empty"
    assert "unset it" in str(refused.value.fix)
    assert "password" not in refused.value.with_fix


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "rediss://:sesame@h/0?ssl_min_version=1.2",
            "ssl_min_version in the URL of LONGTAKE_REDIS_URL has a value that cannot be read "
            "(give 771 for TLS 1.2 or 772 for TLS 1.3)",
        ),
        (
            "sentinel://:sesame@h/0?master=m&ssl=true&ssl_min_version=TLSv1.2",
            "ssl_min_version in the URL of LONGTAKE_REDIS_URL has a value that cannot be read "
            "(give 771 for TLS 1.2 or 772 for TLS 1.3)",
        ),
        (
            "redis://:sesame@h/0?socket_timeout=soon",
            "socket_timeout in the URL of LONGTAKE_REDIS_URL has a value that cannot be read (give a number)",
        ),
        ("rediss://h/0?ssl_min_version=999", "has another ssl_min_version than there are (give 771 for TLS 1.2"),
    ],
)
def test_an_option_with_a_wrong_value_is_named_with_what_it_may_be(url: str, told: str) -> None:
    with pytest.raises(StoreMisconfigured) as refused:
        connect(url)
    assert told in refused.value.with_fix
    assert "sesame" not in refused.value.with_fix


def test_a_tls_version_that_there_is_is_taken() -> None:
    connect("rediss://h/0?ssl_min_version=772").close()


@pytest.mark.parametrize("url", ["http://h", "redis://:pa/ss@h:6379/0"])
def test_any_other_url_is_told_how_to_write_one(url: str) -> None:
    with pytest.raises(StoreMisconfigured, match="cannot be read") as refused:
        connect(url)
    assert "redis://HOST:PORT/DATABASE" in str(refused.value.fix)
