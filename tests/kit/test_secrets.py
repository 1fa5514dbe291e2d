"""Stored credentials are unreadable without the key, and survive its rotation."""

from __future__ import annotations

import pytest
from flask import Flask

from app.kit import secrets


def test_what_is_stored_says_nothing(app: Flask) -> None:
    stored = secrets.encrypt({"token": "hunter2"})
    assert b"hunter2" not in stored
    assert secrets.decrypt(stored) == {"token": "hunter2"}


def test_a_former_key_still_reads(app: Flask, monkeypatch) -> None:
    stored = secrets.encrypt("x")
    monkeypatch.setitem(app.config, "SECRET_KEY_OLD", app.config["SECRET_KEY"])
    monkeypatch.setitem(app.config, "SECRET_KEY", "another secret that is long enough")
    assert secrets.decrypt(stored) == "x"


def test_an_unknown_key_is_told_in_words(app: Flask, monkeypatch) -> None:
    stored = secrets.encrypt("x")
    monkeypatch.setitem(app.config, "SECRET_KEY", "another secret that is long enough")
    with pytest.raises(secrets.Undecryptable, match="SECRET_KEY has changed"):
        secrets.decrypt(stored)


def test_purposes_do_not_share_keys(app: Flask) -> None:
    assert secrets.derived_key("a") != secrets.derived_key("b")
