"""HTML pages with a Content-Security-Policy. Inline scripts of the page are allowed by their hash."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi.responses import HTMLResponse

_SCRIPT = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


def policy_of(html: str, *, foreign_media: bool = False) -> str:
    """The policy of a page: its own origin and its inline scripts. `foreign_media`: media from any origin, because
    the object storage's is not known here."""
    hashes = [hashlib.sha256(script.encode()).digest() for script in _SCRIPT.findall(html)]
    own = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in hashes)
    anywhere = " blob: http: https:" if foreign_media else ""
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self'{own}",
            "style-src 'self' 'unsafe-inline'",
            f"img-src 'self' data:{anywhere}",
            f"media-src 'self'{anywhere}",
            f"connect-src 'self'{anywhere}",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        )
    )


def page(html: str, *, foreign_media: bool = False) -> HTMLResponse:
    """The response with a page and its headers."""
    return HTMLResponse(
        html,
        headers={
            "Cache-Control": "no-cache",
            "Content-Security-Policy": policy_of(html, foreign_media=foreign_media),
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        },
    )
