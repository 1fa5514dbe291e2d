"""Which language a person reads: what they chose, else what their browser asks for, else the installation's."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Flask, abort, current_app, has_request_context, redirect, request, session, url_for
from flask_babel import get_babel, refresh

from app.admin.settings import LANGUAGES


def language() -> str | None:
    """The language of this request; None outside of requests (then the installation's)."""
    if not has_request_context():
        return None
    chosen = session.get("locale")
    if chosen in LANGUAGES:
        return str(chosen)
    return request.accept_languages.best_match(list(LANGUAGES)) or str(current_app.config["DEFAULT_LANGUAGE"])


def choose_language(locale: str) -> Any:
    """Remember the choice and go back to where the reader was."""
    if locale not in LANGUAGES:
        abort(404)
    session["locale"] = locale
    refresh()
    came_from = urlsplit(request.referrer or "")
    if (
        came_from.netloc == request.host
        and came_from.path.startswith("/")
        and not came_from.path.startswith("//")
    ):
        return redirect(came_from.path + (f"?{came_from.query}" if came_from.query else ""))
    return redirect(url_for("HomeView.index"))


def init_language(app: Flask) -> None:
    """Put our choice of language in the place of FAB's, which ignores browsers and writes every session."""
    get_babel(app).locale_selector = language
    # FAB's own route leads "back" by its page history, which we do not keep.
    app.view_functions["LocaleView.index"] = choose_language
