"""Headers that keep a page to itself: no foreign script, no framing, no guessing of types."""

from __future__ import annotations

import secrets

from flask import Flask, Response, g, request
from markupsafe import Markup

YEAR = 31_536_000
"""Seconds; how long browsers keep hashed files, and how long they insist on https."""

FRAME_POLICY = (
    "sandbox; default-src 'none'; img-src data: cid:; style-src 'unsafe-inline'; frame-ancestors 'self'"
)
"""For documents written by others (mail bodies): they may look like something, and do nothing."""


def csp_nonce() -> str:
    """The nonce of this request's own inline scripts."""
    if "csp_nonce" not in g:
        g.csp_nonce = secrets.token_urlsafe(16)
    return str(g.csp_nonce)


def page_policy() -> str:
    """The Content-Security-Policy of our pages. Styles may be inline: badges carry their own colour."""
    return (
        f"default-src 'self'; script-src 'self' 'nonce-{csp_nonce()}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-src 'self'; "
        "frame-ancestors 'none'; "
        "base-uri 'self'; form-action 'self'; object-src 'none'"
    )


def framed(html: str | Markup) -> Response:
    """A document by somebody else, to be shown in <iframe sandbox src=…> on one of our pages."""
    response = Response(str(html), mimetype="text/html")
    response.headers["Content-Security-Policy"] = FRAME_POLICY
    response.headers["X-Robots-Tag"] = "noindex"
    return response


def init_headers(app: Flask) -> None:
    """Add the headers to every answer; what a view has set itself stays."""
    app.jinja_env.globals["csp_nonce"] = csp_nonce
    https = str(app.config.get("PUBLIC_URL", "")).startswith("https://")

    @app.after_request
    def _headers(response: Response) -> Response:
        headers = response.headers
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "same-origin")
        if response.mimetype == "text/html":
            headers.setdefault("Content-Security-Policy", page_policy())
            headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
            # Pages show people's data: neither a shared cache nor the back button after logout may have them.
            headers.setdefault("Cache-Control", "no-store")
        if https and request.is_secure:
            headers.setdefault("Strict-Transport-Security", f"max-age={YEAR}")
        if request.path.startswith("/static/admin/build/assets/") and response.status_code in (200, 304):
            headers["Cache-Control"] = (
                f"public, max-age={YEAR}, immutable"  # the name holds the content's hash
            )
        elif request.path.startswith("/static/") and response.status_code in (200, 304):
            headers["Cache-Control"] = "public, max-age=3600"
        return response
