"""The outbox: every mail, what it says, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, current_app, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from markupsafe import Markup, escape

from app.admin.cells import badge, code, link, when
from app.admin.headers import framed
from app.admin.menu import MenuEntry
from app.admin.views import CommandInterface, CommandView, action, expose, may_read
from app.email import commands, queries
from app.email.admin import words
from app.email.models import CANCELLED, DEFERRED, FAILED, QUEUED, SENDING, SUPPRESSED, UNKNOWN, Message
from app.kit import auth


def fate_of_mails() -> str:
    """Whether mails leave, stay here or wait: what the notice above pages about mails says."""
    return queries.fate_of_mails(queries.all_ways(current_app.config))


def _lead(row: Message) -> Any:
    """A link to the lead where leads are served too, else their id."""
    if row.lead_id and "LeadView.show" in current_app.view_functions:
        return link(url_for("LeadView.show", pk=row.lead_id), gettext("Open the lead"))
    return code(row.lead_id)


class OutboxView(CommandView):
    """Mails, newest first."""

    datamodel = CommandInterface(Message)
    class_permission_name = "Emails"
    roles = {"read": ("manager", "viewer"), "write": ("manager",)}
    route_base = "/admin/outbox"
    menu = MenuEntry("mail", _l("Outbox"), "fa-paper-plane", position=10)
    list_title, show_title = _l("Outbox"), _l("E-mail")
    list_template = "email/outbox.html"
    show_template = "email/message.html"
    base_order = ("created_at", "desc")
    list_columns = ["subject", "to", "status", "delivery", "template", "created_at", "sent_at"]
    order_columns = ["created_at", "sent_at"]
    show_columns = ["to", "status", "delivery", "category", "template", "lead_id", "created_at", "sent_at"]
    quick_search = ["to", "subject"]
    search_columns = ["status", "delivery", "template", "created_at"]
    choices = {"status": words.STATUSES, "delivery": words.DELIVERIES, "category": words.CATEGORIES}
    cells = {
        "subject": lambda row: row.subject or gettext("(no subject)"),
        "status": lambda row: badge(row.status, words.status_of(row)),
        "delivery": lambda row: badge(row.delivery, words.DELIVERIES),
        "template": lambda row: code(row.template),
        "lead_id": lambda row: _lead(row),
        "created_at": lambda row: when(row.created_at),
        "sent_at": lambda row: when(row.sent_at),
    }
    label_columns = {
        "subject": _l("Subject"),
        "to": _l("To"),
        "status": _l("State"),
        "delivery": _l("Delivery"),
        "category": _l("Kind"),
        "template": _l("Template"),
        "lead_id": _l("Lead"),
        "created_at": _l("Created"),
        "sent_at": _l("Sent"),
    }
    empty_link = (_l("Show the templates"), "TemplateView.list")
    empty_text = _l("No mail yet. Leads are welcomed, flows and the API send the rest.")

    def title_of(self, row: Any) -> str:
        """The subject."""
        return row.subject or gettext("(no subject)")

    def render_template(self, template: str, **context: Any) -> Any:
        """With what the list's head needs."""
        if template == self.list_template:
            counts = queries.count_by_status()
            context["chips"] = [
                (
                    status,
                    label,
                    counts.get(status, 0),
                    f"{url_for(f'{self.endpoint}.list')}?f.status={status}",
                )
                for status, (label, _) in words.STATUSES.items()
                if counts.get(status)
            ]
            context["fate"] = fate_of_mails()
        return super().render_template(template, **context)

    def show_context(self, row: Message) -> dict[str, Any]:
        """The message page: words for what happened, and what can be done about it."""
        attempts = queries.attempts_of(row.id)
        latest = next((attempt for attempt in attempts if attempt.code == row.error_code), None)
        return {
            "fate": fate_of_mails(),
            "status": badge(row.status, words.status_of(row)),
            "reason": words.explain(row.error_code, row.last_error, latest.problems if latest else None),
            "server_words": row.last_error if words.is_server_speaking(row.error_code) else None,
            "attempts": [
                (
                    attempt,
                    badge(attempt.outcome, words.outcomes_of(attempt)),
                    attempt.detail
                    if attempt.outcome in ("retry", CANCELLED) and not attempt.code
                    else words.explain(attempt.code, attempt.detail, attempt.problems),
                )
                for attempt in attempts
            ],
            "happenings": [
                (
                    happening,
                    badge(happening.kind, words.DELIVERIES),
                    words.EVENT_REASONS.get(happening.reason or "", ""),
                )
                for happening in queries.happenings_of(row.id)
            ],
            "when": when,
            "may_erase": row.erased_at is None and row.status != SENDING,
            "may_send": row.status in (FAILED, UNKNOWN, DEFERRED, CANCELLED, SUPPRESSED)
            and row.erased_at is None,
            "may_stop": row.status in (QUEUED, DEFERRED),
            "is_unknown": row.status == UNKNOWN,
            "writing": self._writes(),
        }

    def _writes(self) -> bool:
        return bool(self.appbuilder.sm.has_access("can_write", self.class_permission_name))

    @expose("/body/<pk>")
    @may_read
    def body(self, pk: str) -> Response:
        """The HTML part, for a frame that may do nothing."""
        row = self.find(pk)
        return framed(row.html or Markup("<pre>{}</pre>").format(escape(row.text)))

    @action("retry", _l("Send again"), _l("Send the selected mails again?"), "fa-rotate-right", single=False)
    def retry(self, rows: Sequence[Message]) -> None:
        """Put the messages back into the queue."""
        done = self.run(lambda: [commands.retry_email(row.id, by=auth.current().name) for row in rows])
        if done:
            self.toast(gettext("It will be sent in a moment."))

    @action("cancel", _l("Stop"), _l("Stop the selected mails?"), "fa-ban", single=False)
    def cancel(self, rows: Sequence[Message]) -> None:
        """Stop the messages, if they have not left."""
        done = self.run(lambda: [commands.cancel_email(row.id, by=auth.current().name) for row in rows])
        if done:
            self.toast(gettext("Stopped."))

    @action(
        "erase",
        _l("Erase"),
        _l("Erase recipient and text of the selected mails for good?"),
        "fa-eraser",
        single=False,
    )
    def erase(self, rows: Sequence[Message]) -> None:
        """Remove personal data from the messages."""
        if self.run(lambda: [commands.erase_email(row.id, by=auth.current().name) for row in rows]):
            self.toast(gettext("Erased."))
