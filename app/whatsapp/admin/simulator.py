"""A phone in the browser: talk to the published flows before any account exists."""

from __future__ import annotations

from typing import Any

from flask import url_for
from flask_babel import lazy_gettext as _l

from app.admin.views import MenuEntry, PageView, expose, may_read
from app.whatsapp.queries import channels


class SimulatorView(PageView):
    """Mounts the chat island; everything else is its business and the REST door's."""

    class_permission_name = "Simulator"
    roles = {"read": ("manager", "seller"), "write": ()}
    route_base = "/admin/simulator"
    menu = MenuEntry("automation", _l("Simulator"), "fa-mobile-screen", position=20)

    @expose("/")
    @may_read
    def index(self) -> Any:
        """The phone."""
        found = channels.channels(provider="simulator", active=True)
        view = self.appbuilder.sm.has_access("can_write", "Channels")
        return self.page(
            "whatsapp/simulator.html",
            title=_l("Simulator"),
            channels=[{"id": row.id, "name": row.name} for row in found],
            add_url=url_for("ChannelView.add", provider="simulator") if view else None,
        )
