"""What `flask ops doctor` asks of the admin: that its pages can be shown, in both languages, to somebody."""

from __future__ import annotations

from collections.abc import Iterator

from flask import current_app
from flask_appbuilder.security.sqla.models import Role, User
from flask_babel import gettext
from sqlalchemy import select

from app.admin.assets import Manifest
from app.admin.settings import TRANSLATIONS
from app.kit.db import db
from app.kit.doctor import Check, Finding, fault, ok, warning


def checks() -> list[Check]:
    """The front end, the catalogues, the administrator."""
    return [
        Check(name="front end", run=_front_end),
        Check(name="translations", run=_translations),
        Check(name="administrator", run=_administrator),
    ]


def _front_end() -> Iterator[Finding]:
    manifest: Manifest = current_app.extensions["embudo_manifest"]
    where = "app/admin/static/build/"
    chunks = manifest.chunks()
    missing = [
        chunk["file"] for chunk in chunks.values() if not (manifest.path.parents[1] / chunk["file"]).is_file()
    ]
    if not chunks or missing:
        yield fault(
            gettext("The front end is not built; flow designer, board and simulator stay empty."),
            where,
            gettext("Run: make build"),
        )
        return
    yield ok(gettext("The front end is built."), where)


def _translations() -> Iterator[Finding]:
    for source in sorted(TRANSLATIONS.glob("*/LC_MESSAGES/messages.po")):
        target = source.with_suffix(".mo")
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            yield warning(
                gettext(
                    "The catalogue %(language)s is not compiled, or older than its texts.",
                    language=source.parts[-3],
                ),
                "app/admin/translations/",
                gettext("Run: flask ops setup"),
            )


def _administrator() -> Iterator[Finding]:
    someone = select(User.id).where(User.active.is_(True), User.roles.any(Role.name == "Admin")).limit(1)
    if db.session.execute(someone).first() is None:
        yield fault(
            gettext("Nobody is administrator."),
            "/users/list/",
            gettext("Run: flask ops setup. It makes the first one when there is none."),
        )
        return
    yield ok(gettext("There is an administrator."), "/users/list/")
