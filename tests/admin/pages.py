"""Small helpers for tests that go through the admin's real pages."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from flask.testing import FlaskClient

from app.kit.db import db

PASSWORD = "correct horse battery"  # the one of tests/conftest.py


def token_of(client: FlaskClient, path: str = "/") -> str:
    """The CSRF token of a page, as its meta element says it."""
    found = re.search(r'<meta name="csrf-token" content="([^"]+)"', client.get(path).text)
    assert found, f"{path} has no token"
    return unescape(found.group(1))


def send(client: FlaskClient, path: str, data: dict[str, Any] | None = None, **options: Any) -> Any:
    """POST a form with the token of the page it stands on."""
    return client.post(path, data={"csrf_token": token_of(client), **(data or {})}, **options)


def look_again() -> None:
    """End the test's own view of the database, so that it sees what requests have written."""
    db.session.rollback()
    db.session.expire_all()


def words(html: str) -> str:
    """The text of a page without its markup."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))
