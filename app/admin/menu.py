"""The sidebar: sections in a fixed order, filled by the services, showing each person what they may open.

FAB keeps a permission per menu entry beside the one per view, and the two drift apart. Here an entry is
visible exactly when the page behind it may be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import current_app, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from sqlalchemy.exc import SQLAlchemyError

from app.kit import telemetry
from app.kit.db import db

log = telemetry.get_logger("admin")

SECTIONS: dict[str, Any] = {
    "": "",
    "sales": _l("Sales"),
    "automation": _l("Automation"),
    "mail": _l("E-mail"),
    "integrations": _l("Integrations"),
    "security": _l("Security"),
}
"""Keys services may use → headings, in the order of the sidebar; "" stands on top without a heading."""


ELSEWHERE_ICON = "fa-arrow-up-right-from-square"
"""Leads to a service that another process serves, behind the same gateway."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    section: str
    label: Any
    icon: str
    position: int
    view: Any
    endpoint: str
    shown_if: Callable[[], bool] | None


@dataclass(frozen=True)
class MenuEntry:
    """Where a screen stands in the sidebar.

    section: key of SECTIONS. label: lazy string. icon: Font Awesome class. position: order in the section.
    endpoint: another page of the view than its default one. shown_if: further condition, asked per request.
    """

    section: str
    label: Any
    icon: str
    position: int = 100
    endpoint: str = ""
    shown_if: Callable[[], bool] | None = None


def add_screen(appbuilder: Any, view: type[Any], menu: MenuEntry | None = None) -> Any:
    """Register a view with FAB, and in the sidebar when it has a MenuEntry; gives the view's instance."""
    instance = appbuilder.add_view_no_menu(view)
    if menu := menu or getattr(view, "menu", None):
        add_entry(instance, menu)
    return instance


def add_entry(view: Any, menu: MenuEntry) -> None:
    """Put a registered view into the sidebar of the current app."""
    if menu.section not in SECTIONS:
        raise ValueError(f"unknown menu section {menu.section!r}; there are {', '.join(SECTIONS)}")
    entries = current_app.extensions.setdefault("embudo_menu", [])
    entries.append(
        _Entry(
            section=menu.section,
            label=menu.label,
            icon=menu.icon,
            position=menu.position,
            view=view,
            endpoint=menu.endpoint or f"{view.endpoint}.{view.default_view}",
            shown_if=menu.shown_if,
        )
    )


def may_open(view: Any, method: str | None = None) -> bool:
    """Whether the current user may use a view's method, by default its start page."""
    permission = "can_" + view.get_method_permission(method or view.default_view)
    return bool(view.appbuilder.sm.has_access(permission, view.class_permission_name))


def _is_shown(entry: _Entry) -> bool:
    """Whether an entry has something to show; not while its service cannot say, which must not take every page along."""
    try:
        return entry.shown_if is None or bool(entry.shown_if())
    except SQLAlchemyError as error:
        db.session.rollback()
        log.warning("menu entry failed", entry=entry.endpoint, error=type(error).__name__)
        return False


def sidebar() -> list[dict[str, Any]]:
    """Sections with the entries that the current user may open: heading, items (label, icon, url, active)."""
    here = (request.endpoint or "").partition(".")[0]
    entries: list[_Entry] = current_app.extensions.get("embudo_menu", [])
    sections = []
    for key, heading in SECTIONS.items():
        items = [
            {
                "label": str(entry.label),
                "icon": entry.icon,
                "url": url_for(entry.endpoint),
                "active": entry.view.endpoint == here,
            }
            for entry in sorted(entries, key=lambda entry: entry.position)
            if entry.section == key and may_open(entry.view) and _is_shown(entry)
        ]
        if items:
            sections.append({"heading": str(heading), "items": items})
    elsewhere = current_app.extensions.get("embudo_elsewhere", ())
    if elsewhere and sections:
        items = [
            {"label": str(label), "icon": ELSEWHERE_ICON, "url": url, "active": False}
            for label, url in elsewhere
        ]
        sections.append({"heading": gettext("Other services"), "items": items})
    return sections
