"""The admin: Flask-AppBuilder as a door, with our screens, our security and our look.

Everything is made per app: a global AppBuilder breaks at the second create_app() of a process (tests, CLI).
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask
from flask_appbuilder import AppBuilder, Model
from flask_appbuilder.security.sqla import models as _tables  # noqa: F401 (declares the ab_ tables on Model)
from flask_wtf import CSRFProtect

from app.admin import api_docs, api_keys, dead_letters, home, status
from app.admin.assets import init_assets
from app.admin.doctor import checks
from app.admin.headers import init_headers
from app.admin.language import compile_catalogues, init_language
from app.admin.menu import add_screen
from app.admin.pages import init_pages
from app.admin.security import (
    EmbudoSecurityManager,
    find_user,
    init_principals,
    reset_password,
    setup_security,
)
from app.admin.sessions import CookieSessions
from app.admin.settings import apply_settings, quiet_fab
from app.kit.db import NAMING, db

__all__ = [
    "checks",
    "compile_catalogues",
    "fab_metadata",
    "find_user",
    "init_admin",
    "reset_password",
    "setup_security",
]

# Before any migration looks: constraint names must be the same on every database.
Model.metadata.naming_convention = NAMING


def fab_metadata() -> Any:
    """The tables of FAB (users, roles, permissions), for Alembic's platform history."""
    return Model.metadata


def init_admin(app: Flask) -> AppBuilder:
    """Give the app its admin; needs kit.db and an app context, touches no database.

    The caller then registers the screens of the services it serves.
    """
    apply_settings(app)
    app.session_interface = CookieSessions()
    quiet_fab()
    # Before FAB's blueprints, so that our templates win over those of the same name.
    app.register_blueprint(
        Blueprint(
            "admin",
            __name__,
            template_folder="templates",
            static_folder="static",
            static_url_path="/static/admin",
        )
    )
    CSRFProtect(app)  # before FAB, which looks for it when it adds views
    appbuilder = AppBuilder(
        app,
        db.session,
        base_template="admin/base.html",
        indexview=home.HomeView,
        security_manager_class=EmbudoSecurityManager,
        update_perms=False,
    )
    init_language(app)
    init_headers(app)
    init_assets(app)
    init_pages(app)
    init_principals(app)
    home.init_home(app, appbuilder._indexview)
    add_screen(appbuilder, api_keys.ApiKeyView)
    add_screen(appbuilder, dead_letters.DeadLetterView)
    add_screen(appbuilder, status.StatusView)
    add_screen(appbuilder, api_docs.ApiDocsView)
    return appbuilder
