"""Sessions in signed cookies, as Flask has them."""

from __future__ import annotations

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer


class CookieSessions(SecureCookieSessionInterface):
    """Serves one app, and makes its signer once; Flask makes one for every request, also for those without a cookie."""

    _signer: URLSafeTimedSerializer | None = None

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """The app's signer; it holds no state of a request."""
        if self._signer is None:
            self._signer = super().get_signing_serializer(app)
        return self._signer
