"""Credentials typed into the admin are encrypted before they reach a database, a backup or a log.

Keys are derived from SECRET_KEY; SECRET_KEY_OLD may list former ones (comma separated), which still decrypt while
new writes use the current one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from flask import current_app
from sqlalchemy import Dialect, LargeBinary
from sqlalchemy.types import TypeDecorator


class Undecryptable(RuntimeError):
    """Stored with a SECRET_KEY that is no longer known; the credentials must be typed in again."""


def _fernet() -> MultiFernet:
    keys = [
        current_app.config["SECRET_KEY"],
        *filter(None, current_app.config.get("SECRET_KEY_OLD", "").split(",")),
    ]
    return MultiFernet(
        [Fernet(base64.urlsafe_b64encode(derived_key("stored credentials", key))) for key in keys]
    )


def derived_key(purpose: str, secret: str | None = None) -> bytes:
    """32 bytes for one purpose, so that no two uses of SECRET_KEY share a key (HKDF-like, RFC 5869 extract step)."""
    secret = secret if secret is not None else current_app.config["SECRET_KEY"]
    return hmac.new(b"embudo: " + purpose.encode(), secret.encode(), hashlib.sha256).digest()


def encrypt(value: Any) -> bytes:
    """Any JSON-plain value, encrypted and authenticated."""
    return _fernet().encrypt(orjson.dumps(value))


def decrypt(stored: bytes) -> Any:
    """The value again; raises Undecryptable when no known key fits."""
    try:
        return orjson.loads(_fernet().decrypt(bytes(stored)))
    except InvalidToken:
        raise Undecryptable(
            "stored credentials cannot be read: SECRET_KEY has changed; set SECRET_KEY_OLD or enter them again"
        ) from None


class EncryptedJson(TypeDecorator[Any]):
    """A JSON value that is only ever stored encrypted. Empty and missing are stored as NULL."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        """Encrypt on the way in."""
        return encrypt(value) if value else None

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Any:
        """Decrypt on the way out."""
        return decrypt(value) if value else {}
