"""HTML pages with a Content-Security-Policy. Inline scripts of the page are allowed by their hash."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi.responses import HTMLResponse

_SCRIPT = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


def policy_of(html: str) -> str:
    """The policy of a page: its own origin and its inline scripts."""
    hashes = [hashlib.sha256(script.encode()).digest() for script in _SCRIPT.findall(html)]
    own = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in hashes)
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self'{own}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "media-src 'self'",
            "connect-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        )
    )


def page(html: str) -> HTMLResponse:
    """The response with a page and its headers."""
    return HTMLResponse(
        html,
        headers={
            "Cache-Control": "no-cache",
            "Content-Security-Policy": policy_of(html),
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        },
    )
