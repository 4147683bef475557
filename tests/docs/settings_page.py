"""docs/settings.md, made from the Settings class: one row per setting, in the order of the class."""

from __future__ import annotations

from pydantic import SecretStr

from core.service.settings import SHIPPED_PRESETS_DIR, Settings

HEADINGS = {
    "redis_url": "Redis and S3",
    "public_base_url": "HTTP",
    "media": "Chunks, videos and playlists",
    "presets_dir": "Models",
    "default_num_frames": "Requests and queue",
    "upload_ttl_seconds": "Uploads and input media",
    "webhook_secret": "Webhooks and URLs of clients",
    "lease_ttl_seconds": "Workers",
}
"""By the first setting below each."""

INTRODUCTION = """\
# Settings

Environment variables of every process; there is no configuration file. A wrong value ends the process with one
sentence; a name `LONGTAKE_...` that is no setting is a warning in the log of the API and of `longtake worker`.
`longtake demo` and `longtake up` set the addresses and keys of the servers that they start. How to run the service
permanently is in [operations.md](operations.md).

This page is generated from `core/service/settings.py` by `.venv/bin/python -m tests.docs`.
"""


def settings_page() -> str:
    """The whole page."""
    defaults = Settings()
    lines = [INTRODUCTION]
    for name, field in Settings.model_fields.items():
        if name in HEADINGS:
            lines.append(f"\n## {HEADINGS[name]}\n\n| variable | default | meaning |\n|---|---|---|\n")
        lines.append(f"| `LONGTAKE_{name.upper()}` | {_default(getattr(defaults, name))} | {field.description} |\n")
    return "".join(lines)


def _default(value: object) -> str:
    """A default as the table shows it; the presets' folder without the path of this checkout."""
    if value is None or isinstance(value, SecretStr):
        return "unset"
    if value == SHIPPED_PRESETS_DIR:
        return "the shipped ones"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
