"""Which language a person reads: what they chose, else what the browser asks for, else the default."""

from __future__ import annotations

import contextlib
import os
from typing import Any
from urllib.parse import urlsplit

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from flask import (
    Flask,
    abort,
    current_app,
    has_app_context,
    has_request_context,
    redirect,
    request,
    session,
    url_for,
)
from flask_babel import get_babel, get_domain, refresh

from app.admin.settings import LANGUAGES, TRANSLATIONS


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


def compile_catalogues() -> list[str]:
    """Make the .mo files that are older than their .po; which that were. At each start, and in image builds.

    Compiled catalogues are never committed. The new file takes the old one's place at once, so that a running
    process reads either.
    """
    made = []
    for source in sorted(TRANSLATIONS.glob("*/LC_MESSAGES/messages.po")):
        target = source.with_suffix(".mo")
        if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
            continue
        with source.open("rb") as file:
            catalogue = read_po(file, locale=source.parts[-3])
        fresh = target.with_suffix(f".{os.getpid()}")
        with fresh.open("wb") as file:
            write_mo(file, catalogue)
        fresh.replace(target)
        made.append(str(catalogue.locale))
    if made and has_app_context():
        get_domain().cache.clear()  # this process may have looked before there was anything to find
    return made


def init_language(app: Flask) -> None:
    """Put our choice of language in the place of FAB's, which ignores browsers and writes every session."""
    # Not only at set-up: what is not found once stays untranslated in this process and in all it forks.
    with contextlib.suppress(OSError):  # a read-only file system holds those that its image was built with
        compile_catalogues()
    get_babel(app).locale_selector = language
    # FAB's own route leads "back" by its page history, which we do not keep.
    app.view_functions["LocaleView.index"] = choose_language
