"""The delivery log: every message for every endpoint, what was sent, and what came back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from flask import request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from app.admin.cells import badge, code, link, when
from app.admin.menu import MenuEntry
from app.admin.views import CommandInterface, CommandView, action
from app.kit.db import as_id
from app.kit.errors import NotFound
from app.webhooks import commands, queries
from app.webhooks.admin import words
from app.webhooks.models import Delivery


def _status(row: Delivery) -> Any:
    waits = (
        {**words.STATUSES, "pending": words.WAITING} if row.attempts > row.series_start else words.STATUSES
    )
    return badge(row.status, waits)


class DeliveryView(CommandView):
    """Deliveries, newest first."""

    datamodel = CommandInterface(Delivery)
    class_permission_name = "WebhookDeliveries"
    roles = {"read": ("manager", "viewer")}
    route_base = "/admin/webhook-deliveries"
    menu = MenuEntry("integrations", _l("Webhook deliveries"), "fa-list-check", position=50)
    list_title, show_title = _l("Webhook deliveries"), _l("Delivery")
    list_template = "webhooks/deliveries.html"
    show_template = "webhooks/delivery.html"
    base_order = ("created_at", "desc")
    eager = ("endpoint",)
    list_columns = [
        "event_type",
        "endpoint",
        "status",
        "last_status",
        "attempts",
        "created_at",
        "next_attempt_at",
    ]
    order_columns = ["created_at", "next_attempt_at", "attempts"]
    show_columns = ["event_type", "created_at", "attempts", "next_attempt_at", "delivered_at"]
    search_columns = ["status", "event_type", "endpoint", "created_at"]
    choices = {"status": words.STATUSES}
    cells = {
        "event_type": lambda row: code(row.event_type),
        "endpoint": lambda row: link(url_for("EndpointView.show", pk=row.endpoint_id), str(row.endpoint)),
        "status": _status,
        "last_status": lambda row: (
            row.last_status or (words.explain(row.last_error, None) if row.last_error else None)
        ),
        "created_at": lambda row: when(row.created_at),
        "next_attempt_at": lambda row: when(row.next_attempt_at),
    }
    label_columns = {
        "event_type": _l("Event"),
        "endpoint": _l("Endpoint"),
        "status": _l("State"),
        "last_status": _l("Last answer"),
        "attempts": _l("Tries"),
        "created_at": _l("Created"),
        "next_attempt_at": _l("Next try"),
        "delivered_at": _l("Delivered"),
    }
    empty_link = (_l("Show the endpoints"), "EndpointView.list")
    empty_text = _l("Nothing was sent yet. Add an endpoint, then everything it wants is listed here.")

    def title_of(self, row: Any) -> str:
        """The event's name."""
        return str(row.event_type)

    def render_template(self, template: str, **context: Any) -> Any:
        """With the chips above the list: how many there are in each state."""
        if template == self.list_template:
            endpoint_id = as_id(request.args.get("f.endpoint", ""))
            counts = queries.count_by_status(endpoint_id)
            narrow: dict[str, Any] = {"f.endpoint": endpoint_id} if endpoint_id else {}
            context["chips"] = [
                (label, counts[status], url_for(f"{self.endpoint}.list", **(narrow | {"f.status": status})))
                for status, (label, _) in words.STATUSES.items()
                if counts.get(status)
            ]
            context["narrowed_to"] = self._endpoint(endpoint_id) if endpoint_id else None
        return super().render_template(template, **context)

    def _endpoint(self, endpoint_id: str) -> Any:
        try:
            return queries.get_endpoint(endpoint_id)
        except NotFound:
            return None

    def show_context(self, row: Delivery) -> dict[str, Any]:
        """What was sent, the calls, and what can be done."""
        message = queries.get_message(row.message_id)
        found = queries.get_endpoint(row.endpoint_id)
        return {
            "target": found,
            "body": _pretty(message.body),
            "erased": message.erased_at is not None,
            "status": _status(row),
            "reason": words.explain(row.last_error, row.last_status),
            "calls": [(call, words.explain(call.error, call.status)) for call in queries.attempts_of(row.id)],
            "may_replay": self._may_write() and found.enabled and message.erased_at is None,
            "when": when,
        }

    def _may_write(self) -> bool:
        return bool(self.appbuilder.sm.has_access("can_write", self.class_permission_name))

    @action(
        "replay", _l("Send again"), _l("Send the selected deliveries again?"), "fa-rotate-right", single=False
    )
    def replay(self, rows: Sequence[Delivery]) -> None:
        """Send them again, with the same ids and bytes."""
        if self.run(lambda: [commands.replay(row.id) for row in rows]):
            self.toast(gettext("It will be sent in a moment."))


def _pretty(body: bytes) -> str:
    """The body as a person reads it; what is sent has no spaces."""
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode() if body else ""
