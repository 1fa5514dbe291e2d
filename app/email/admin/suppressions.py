"""The suppression list: who gets no more mail, and why."""

from __future__ import annotations

from typing import Any

from flask import url_for
from flask_babel import lazy_gettext as _l

from app.admin.cells import badge, link, when
from app.admin.menu import MenuEntry
from app.admin.views import CommandInterface, CommandView
from app.email import commands
from app.email.admin import words
from app.email.models import Suppression
from app.kit import auth


def _mail(row: Suppression) -> Any:
    return (
        link(url_for("OutboxView.show", pk=row.message_id), _l("Open the mail")) if row.message_id else None
    )


class SuppressionView(CommandView):
    """Addresses that get no mail."""

    datamodel = CommandInterface(
        Suppression,
        add=lambda values: commands.add_suppression(values, by=auth.current().name),
        delete=lambda id_: commands.remove_suppression(id_, by=auth.current().name),
    )
    class_permission_name = "EmailSuppressions"
    roles = {"read": ("manager", "viewer"), "write": ("manager",)}
    route_base = "/admin/suppressions"
    menu = MenuEntry("mail", _l("Suppressed addresses"), "fa-user-slash", position=30)
    list_title, add_title, show_title = _l("Suppressed addresses"), _l("Suppress an address"), _l("Address")
    base_order = ("created_at", "desc")
    list_columns = ["address", "scope", "reason", "note", "created_at", "created_by"]
    order_columns = ["address", "created_at"]
    show_columns = ["address", "scope", "reason", "message_id", "note", "created_at", "created_by"]
    quick_search = ["address", "note"]
    search_columns = ["scope", "reason"]
    choices = {"scope": words.SCOPES, "reason": words.REASONS}
    cells = {
        "reason": lambda row: badge(row.reason, words.REASONS),
        "message_id": lambda row: _mail(row),
        "created_at": lambda row: when(row.created_at),
    }
    add_columns = edit_columns = ["address", "scope", "note"]
    label_columns = {
        "address": _l("Address"),
        "scope": _l("What is held back"),
        "reason": _l("Why"),
        "note": _l("Note"),
        "message_id": _l("Because of"),
        "created_at": _l("Since"),
        "created_by": _l("By"),
    }
    delete_question = _l(
        "Let mail to “%(title)s” through again? Whoever unsubscribed should have asked for it."
    )
    empty_text = _l(
        "Everybody gets mail. Addresses that bounce, complain or unsubscribe are added by themselves."
    )

    def title_of(self, row: Any) -> str:
        """The address."""
        return str(row)
