"""What FAB and its limiter are told, in one place and with the reason."""

from __future__ import annotations

import logging
from pathlib import Path

from flask import Flask

LANGUAGES = {"es": {"flag": "es", "name": "Español"}, "en": {"flag": "gb", "name": "English"}}
"""What the product speaks."""

TRANSLATIONS = Path(__file__).parent / "translations"

NOISE = (
    "Filter type not supported for column",
    "Invalid redirect detected, falling back to index",
    "No user yet created",
)
"""What FAB reports at every start or login though nothing is wrong."""


class _NoNoise(logging.Filter):
    """Drops FAB's reports of nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record unless its template is noise."""
        return not str(record.msg).startswith(NOISE)


_no_noise = _NoNoise()


def quiet_fab() -> None:
    """Filter FAB's log noise; the same filter at every app of the process."""
    for name in ("models.filters", "utils.base", "security.manager", "security.sqla.manager", "baseviews"):
        logging.getLogger(f"flask_appbuilder.{name}").addFilter(_no_noise)
    logging.getLogger("flask_appbuilder.base").setLevel(logging.WARNING)


def apply_settings(app: Flask) -> None:
    """Set FAB's configuration; what the environment decides is there already."""
    app.config.update(
        APP_NAME="Embudo",
        APP_THEME="",
        LANGUAGES=LANGUAGES,
        BABEL_TRANSLATION_DIRECTORIES=str(TRANSLATIONS),
        # FAB would create tables and permissions at every start, and several workers would race for it.
        FAB_CREATE_DB=False,
        FAB_UPDATE_PERMS=False,
        FAB_ADD_SECURITY_API=False,
        FAB_ADD_MENU_API=False,
        FAB_API_SWAGGER_UI=False,
        FAB_SECURITY_SIGNALS_ENABLED=False,
        AUTH_ROLE_ADMIN="Admin",
        AUTH_ROLE_PUBLIC="Public",
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session; a form left open overnight must still save
        WTF_CSRF_SSL_STRICT=True,
        # One counter for all processes; each its own while Redis is gone, rather than no login at all.
        RATELIMIT_ENABLED=True,
        RATELIMIT_STORAGE_URI=_limiter_url(app.config["REDIS_URL"]),
        RATELIMIT_STORAGE_OPTIONS={"socket_connect_timeout": 2, "socket_timeout": 2},
        RATELIMIT_IN_MEMORY_FALLBACK_ENABLED=True,
        RATELIMIT_HEADERS_ENABLED=False,
        RATELIMIT_KEY_PREFIX="embudo",
    )
    app.config.setdefault("JWT_SECRET_KEY", app.config["SECRET_KEY"])


def _limiter_url(url: str) -> str:
    """The limiter's library has its own scheme for Redis on a Unix socket."""
    return "redis+" + url if url.startswith("unix:") else url
