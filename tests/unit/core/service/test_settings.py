"""Invalid settings are refused at start, with the variable's name and the fix."""

from __future__ import annotations

import base64
import re
import subprocess
import sys

import pytest

from api.app import create_app
from core.service.domain.errors import SetupError
from core.service.domain.webhook_secret import generate_secret
from core.service.settings import Settings, read_settings
from worker import process

SHORT = "whsec_" + base64.b64encode(b"x" * 23).decode()
LONG = "whsec_" + base64.b64encode(b"x" * 65).decode()
GOOD = "whsec_" + base64.b64encode(b"x" * 32).decode()


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "does not begin with whsec_"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "does not begin with whsec_"),
        ("whsec_not base64", "is not base64"),
        ("whsec_ÄÖÜ", "is not base64"),
        ("whsec_AAAA", "has a key of 3 bytes"),
        (SHORT, "has a key of 23 bytes"),
        (LONG, "has a key of 65 bytes"),
        (f"{GOOD} {SHORT}", "has a key of 23 bytes"),
        (" ", "is empty"),
    ],
)
def test_a_malformed_webhook_secret_is_refused_at_start(
    secret: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LONGTAKE_WEBHOOK_SECRET", secret)
    with pytest.raises(SetupError) as caught:
        read_settings()
    told = caught.value.message
    assert "LONGTAKE_WEBHOOK_SECRET is wrong" in told
    assert why in told
    assert "generate_secret" in told
    assert secret.strip() == "" or secret not in told

    with pytest.raises(SystemExit, match="LONGTAKE_WEBHOOK_SECRET is wrong"):
        create_app()
    assert process.main(["--kind", "cpu"]) == process.EXIT_SETTINGS
    assert "LONGTAKE_WEBHOOK_SECRET is wrong" in capsys.readouterr().err


def test_the_command_that_the_refusal_names_makes_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_WEBHOOK_SECRET", "whsec_AAAA")
    with pytest.raises(SetupError) as caught:
        read_settings()
    (program,) = re.findall(r'python -c "(.+)"', caught.value.message)
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    monkeypatch.setenv("LONGTAKE_WEBHOOK_SECRET", made)
    assert read_settings().webhook_secret


def test_several_webhook_secrets_may_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_WEBHOOK_SECRET", f"{generate_secret()} {generate_secret()}")
    assert read_settings().webhook_secret


def test_a_disk_that_cannot_hold_the_largest_file_allowed_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_MAX_VIDEO_BYTES", "4500000000")
    with pytest.raises(SetupError, match=r"LONGTAKE_MEDIA_DISK_BYTES is wrong: .* do not hold the largest") as caught:
        read_settings()
    assert "LONGTAKE_MAX_VIDEO_BYTES" in caught.value.message
    monkeypatch.setenv("LONGTAKE_MEDIA_DISK_BYTES", "6000000000")
    assert read_settings().media_disk_bytes == 6_000_000_000


@pytest.mark.parametrize(
    ("given", "media", "base"),
    [
        ("proxy", "proxy", None),
        ("redirect", "redirect", None),
        ("https://cdn.example/longtake/", "https://cdn.example/longtake", "https://cdn.example/longtake"),
    ],
)
def test_media_are_proxied_redirected_or_at_a_cdn(
    monkeypatch: pytest.MonkeyPatch, given: str, media: str, base: str | None
) -> None:
    monkeypatch.setenv("LONGTAKE_MEDIA", given)
    settings = read_settings()
    assert (settings.media, settings.media_base_url) == (media, base)


@pytest.mark.parametrize(
    "given", ["", "cdn", "cdn.example", "ftp://cdn.example", "https://", "https://cdn.example?a=1"]
)
def test_any_other_delivery_of_media_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("LONGTAKE_MEDIA", given)
    with pytest.raises(SetupError, match="LONGTAKE_MEDIA is wrong: use proxy, redirect, or the base URL of a CDN"):
        read_settings()


FLOATS = [name.upper() for name, field in Settings.model_fields.items() if field.annotation is float]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("given", ["inf", "nan", "-inf"])
def test_a_number_that_is_not_finite_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, given: str) -> None:
    monkeypatch.setenv(f"LONGTAKE_{name}", given)
    with pytest.raises(SetupError, match=f"LONGTAKE_{name} is wrong: "):
        read_settings()


def test_the_settings_with_seconds_are_among_these() -> None:
    assert {"TARGET_QUEUE_SECONDS", "AHEAD_SECONDS", "POOL_HOLD_SECONDS", "LEASE_TTL_SECONDS"} <= {*FLOATS}
