"""Webhooks that could not be handled: what they said, why not, and a button to try again."""

from __future__ import annotations

from typing import Any

from flask import redirect
from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from app.admin.cells import when
from app.admin.views import MenuEntry, PageView, expose, may_read, may_write
from app.kit.db import is_id
from app.kit.errors import NotFound
from app.kit.jobs import ring
from app.whatsapp.admin import words
from app.whatsapp.commands import intake
from app.whatsapp.queries import conversations as queries


class WebhookView(PageView):
    """The dead letters of `/message`."""

    class_permission_name = "Webhooks received"
    roles = {"read": ("manager",), "write": ("manager",)}
    route_base = "/admin/received-webhooks"
    menu = MenuEntry("integrations", _l("Unhandled messages"), "fa-envelope-circle-check", position=40)

    @expose("/")
    @may_read
    def index(self) -> Any:
        """The newest first."""
        return self.page(
            "whatsapp/webhooks.html",
            title=_l("Unhandled messages"),
            rows=queries.dead_webhooks(),
            providers=words.PROVIDER,
            when=when,
        )

    @expose("/replay/<pk>", methods=["POST"])
    @may_write
    def replay(self, pk: str) -> Any:
        """Try again."""
        if not is_id(pk):
            raise NotFound("webhook", pk)

        def work() -> bool:
            intake.replay_webhook(pk)
            ring("whatsapp.process_webhooks")
            return True

        if self.run(work):
            self.toast(gettext("It is being tried again."))
        return redirect(self.get_redirect())
