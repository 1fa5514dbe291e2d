"""The inbox: who wrote, what was said, and a person's place to answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import abort, current_app, g, redirect, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from app.admin.cells import NOTHING, badge, when
from app.admin.views import (
    CommandInterface,
    CommandView,
    MenuEntry,
    OwnOnly,
    action,
    expose,
    may_read,
    may_write,
)
from app.kit import auth
from app.kit.db import db, is_id
from app.whatsapp.admin import words
from app.whatsapp.commands import sending, talk
from app.whatsapp.models import Contact, Conversation
from app.whatsapp.queries import conversations as queries


def _latest(row: Contact) -> Conversation | None:
    """The contact's newest conversation; those of the whole page come by one query."""
    found: dict[str, Conversation | None] = g.setdefault("whatsapp_latest", {})
    if row.id not in found:
        ids = [item.id for item in db.session if isinstance(item, Contact)]
        known = queries.latest_of(ids)
        found.update({contact_id: known.get(contact_id) for contact_id in ids})
    return found.get(row.id)


def _state(row: Contact) -> Any:
    latest = _latest(row)
    return (
        badge(latest.status, words.CONVERSATION)
        if latest is not None
        else badge(gettext("Unanswered"), colour="red")
    )


class ConversationView(CommandView):
    """One line per contact: a person reads talks, not runs of flows."""

    datamodel = CommandInterface(Contact)
    class_permission_name = "Conversations"
    roles = {"read": ("manager", "seller", "viewer"), "write": ("manager", "seller")}
    route_base = "/admin/conversations"
    menu = MenuEntry("sales", _l("Conversations"), "fa-comments", position=30)
    list_title, show_title = _l("Conversations"), _l("Conversation")
    base_filters = [["owner_id", OwnOnly, None]]
    list_columns = ["name", "phone", "channel", "mode", "state", "last_inbound_at"]
    choices = {"mode": words.MODE}
    cells = {
        "name": lambda row: str(row),
        "state": _state,
        "last_inbound_at": lambda row: when(row.last_inbound_at),
        "phone": lambda row: row.phone or NOTHING,
    }
    quick_search = ["name", "phone"]
    search_columns = ["channel", "mode"]
    order_columns = ["name", "last_inbound_at"]
    base_order = ("last_inbound_at", "desc")
    show_columns = ["name", "phone", "channel", "mode"]
    add_columns = edit_columns = ["name"]
    label_columns = {
        "name": _l("Contact"),
        "phone": _l("Phone"),
        "channel": _l("Channel"),
        "mode": _l("Who answers"),
        "state": _l("State"),
        "last_inbound_at": _l("Last message"),
    }
    empty_link = (_l("Open the simulator"), "SimulatorView.index")
    empty_text = _l("Nobody has written yet. Open the simulator and say hello.")

    @expose("/show/<pk>", methods=["GET"])
    @may_read
    def show(self, pk: str) -> Any:
        """The transcript; pk is a contact's or a conversation's id, so that other services can link to either."""
        row = self._contact(pk)
        if row.id != pk:
            return redirect(url_for("ConversationView.show", pk=row.id))
        latest = queries.latest_of([row.id]).get(row.id)
        return self.render_template(
            "whatsapp/conversation.html",
            title=str(row),
            view=self,
            row=row,
            pk=row.id,
            latest=latest,
            messages=queries.messages_of_contact(row.id),
            words=words,
            badge=badge,
            when=when,
            may_answer=self._may_act_on(),
            lead_url=self._lead_url(row),
        )

    @expose("/show/<pk>/messages", methods=["GET"])
    @may_read
    def bubbles(self, pk: str) -> Any:
        """The bubbles alone, for refreshing the page."""
        row = self._contact(pk)
        return self.render_template(
            "whatsapp/_bubbles.html",
            messages=queries.messages_of_contact(row.id),
            words=words,
            when=when,
            may_answer=self._may_act_on(),
        )

    @expose("/reply/<pk>", methods=["POST"])
    @may_write
    def reply(self, pk: str) -> Any:
        """A person answers."""
        text = request.form.get("text", "")
        return self._do(pk, lambda row: talk.write_as_person(row.id, text, by=auth.current().name))

    @expose("/take-over/<pk>", methods=["POST"])
    @may_write
    def take_over(self, pk: str) -> Any:
        """Silence the bot."""
        return self._do(pk, lambda row: talk.take_over(row.id))

    @expose("/return/<pk>", methods=["POST"])
    @may_write
    def return_to_bot(self, pk: str) -> Any:
        """Let the bot answer again."""
        return self._do(pk, lambda row: talk.return_to_bot(row.id))

    @expose("/send-again/<pk>/<message_id>", methods=["POST"])
    @may_write
    def send_again(self, pk: str, message_id: str) -> Any:
        """Send a message again that failed or may not have arrived."""
        return self._do(
            pk, lambda row: sending.send_again(message_id, contact_id=row.id, by=auth.current().name)
        )

    @action("take_over_all", _l("Take over"), None, "fa-hand", single=False)
    def take_over_all(self, rows: list[Contact]) -> Any:
        """Silence the bot for several contacts."""
        self.run(lambda: [talk.take_over(row.id) for row in rows])

    @action("return_all", _l("Return to the bot"), None, "fa-robot", single=False)
    def return_all(self, rows: list[Contact]) -> Any:
        """Let the bot answer several contacts again."""
        self.run(lambda: [talk.return_to_bot(row.id) for row in rows])

    def _do(self, pk: str, work: Callable[[Contact], Any]) -> Any:
        row = self._contact(pk)
        self.run(lambda: work(row))
        return redirect(url_for("ConversationView.show", pk=row.id))

    def _contact(self, pk: str) -> Contact:
        row: Contact | None = self.datamodel.get(pk, self.base_filters_now())
        if row is None:
            run = db.session.get(Conversation, pk) if is_id(pk) else None
            row = self.datamodel.get(run.contact_id, self.base_filters_now()) if run is not None else None
        if row is None:
            abort(404)
        return row

    def _may_act_on(self) -> bool:
        return bool(self.appbuilder.sm.has_access("can_write", self.class_permission_name))

    def _lead_url(self, row: Contact) -> str | None:
        if row.lead_id is None or "LeadView.show" not in current_app.view_functions:
            return None
        return url_for("LeadView.show", pk=row.lead_id)
