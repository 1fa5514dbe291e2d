"""A session ends when its password does.

Sessions live in the browser's cookie, so nothing of ours can be deleted to end one. Each keeps a seal made of the
password's hash instead: whoever got hold of a cookie is out as soon as the password is changed or reset.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from flask import Flask, session
from flask_login import user_logged_in

from app.kit.secrets import derived_key

KEY = "seal"


def _seal(user: Any) -> str:
    # Keyed, because the cookie can be read by its owner and the hash is nobody's business.
    return hmac.new(derived_key("sessions"), (user.password or "").encode(), hashlib.sha256).hexdigest()[:32]


def put_seal(user: Any) -> None:
    """Seal the running request's session for this user; at login, and after they changed their password."""
    session[KEY] = _seal(user)


def holds(user: Any) -> bool:
    """Whether the running request's session was sealed with the user's present password."""
    return hmac.compare_digest(str(session.get(KEY, "")).encode(), _seal(user).encode())


def init_seals(app: Flask) -> None:
    """Seal every session that begins."""
    user_logged_in.connect(lambda _app, user, **_: put_seal(user), app, weak=False)
