"""What every page gets without asking, and the pages for when something is wrong."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, g, has_request_context, redirect, render_template, request, url_for
from flask_babel import get_locale, gettext
from flask_babel import lazy_gettext as _l
from flask_login import current_user

from app.admin.cells import badge, code, label_of, shown, when, yes_no
from app.admin.menu import sidebar
from app.admin.settings import LANGUAGES
from app.kit import zone
from app.kit.context import request_id

SENTENCES = {
    400: (
        _l("That did not work"),
        _l("The page was open for too long or the request was not complete. Try again."),
    ),
    403: (_l("Not for you"), _l("Your role does not allow this. Ask an administrator.")),
    404: (_l("Not found"), _l("This page or record does not exist, or not for you.")),
    405: (_l("Not this way"), _l("The address is right, but it cannot be opened like this.")),
    413: (_l("Too large"), _l("What you sent is larger than allowed.")),
    429: (_l("Too many attempts"), _l("Wait a minute, then try again.")),
    503: (_l("Not available now"), _l("A part of the system does not answer. Try again in a few seconds.")),
}
"""Title and sentence per HTTP status, for people."""

OUR_FAULT = (_l("Something went wrong"), _l("This is our fault, not yours. It has been recorded."))


def error_page(status: int, title: str, detail: str) -> Any:
    """The page for an error; a stranger without a session is led to the login instead of a 401."""
    if status == 401:
        return redirect(url_for("LoginView.login", next=request.full_path.rstrip("?")))
    heading, sentence = SENTENCES.get(status, OUR_FAULT if status >= 500 else (gettext(title), detail))
    try:
        page = render_template(
            "admin/error.html", title=heading, sentence=sentence, status=status, request_id=request_id(),
            appbuilder=current_app.appbuilder, base_template="admin/base.html",  # type: ignore[attr-defined]
        )  # fmt: skip
    except Exception:  # noqa: BLE001 (the database may be what failed, and the sidebar asks it)
        # Flask-Login gives every template the user, whom it would look up in that database again.
        g._login_user = current_app.login_manager.anonymous_user()  # type: ignore[attr-defined]
        page = render_template(
            "admin/error_bare.html", title=heading, sentence=sentence, request_id=request_id()
        )
    return page, status


def _context() -> dict[str, Any]:
    if not has_request_context():
        return {}
    return {
        "lang": str(get_locale() or "en"),
        "languages": LANGUAGES,
        "sidebar": sidebar,
        "user": current_user,
        "app_name": current_app.config["APP_NAME"],
        "timezone": zone.name(),
    }


def init_pages(app: Flask) -> None:
    """Give templates their common names, and the doors the page for errors."""
    app.context_processor(_context)
    app.jinja_env.globals.update(
        badge=badge, code=code, label_of=label_of, shown=shown, when=when, yes_no=yes_no
    )
    app.extensions["embudo_html_errors"] = error_page
