"""The funnel as a board: a column per stage, a card per lead, dragged or moved by keyboard.

The page is complete without scripts; the `board` island adds the dragging and sends the same PATCH as any client.
"""

from __future__ import annotations

from typing import Any

from flask import request
from flask_babel import lazy_gettext as _l

from app.admin.menu import MenuEntry
from app.admin.views import PageView, expose, may_read
from app.kit import auth
from app.leads.admin import words
from app.leads.admin.leads import LeadView, ago
from app.leads.queries import funnel, lists


class BoardView(PageView):
    """The board."""

    class_permission_name = "Leads"
    roles = LeadView.roles
    route_base = "/admin/board"
    menu = MenuEntry("sales", _l("Funnel"), "fa-filter", position=10)

    @expose("/")
    @may_read
    def index(self) -> Any:
        """All stages, narrowed by the search box and an owner."""
        who = auth.current()
        q = request.args.get("q", "").replace("\x00", "").strip()[:100]
        owner = request.args.get("owner", "")
        narrowed = owner.isascii() and owner.isdecimal() and len(owner) < 10
        filters = lists.LeadFilter(q=q, owner=int(owner) if narrowed else None)
        return self.page(
            "leads/board.html",
            title=_l("Funnel"),
            columns=funnel.board(filters, who),
            names=words.stages(),
            owners={} if who.own_only else words.owners(),
            q=q,
            owner=owner if narrowed else "",
            money=words.money,
            sums=words.sums,
            ago=ago,
            may_move=who.may("leads:write"),
        )
