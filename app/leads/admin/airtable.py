"""The sync page: how each table does, what needs a person, and the buttons for it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from flask import redirect, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from app.admin.cells import badge, when
from app.admin.menu import MenuEntry
from app.admin.views import PageView, expose, may_read, may_write
from app.kit import auth
from app.kit.errors import NotFound, ProviderError
from app.leads.admin import airtable_words as words
from app.leads.commands import airtable_gone as deletions
from app.leads.commands import airtable_settings as commands
from app.leads.jobs.calls import ask
from app.leads.queries import airtable as queries


class AirtableView(PageView):
    """Airtable: state, lag, conflicts, blocked leads."""

    class_permission_name = "Airtable"
    roles = {"read": ("manager",), "write": ()}
    route_base = "/admin/airtable"
    menu = MenuEntry("integrations", "Airtable", "fa-table", position=10)

    def writes(self) -> bool:
        """Whether the current user may change anything here."""
        return bool(self.appbuilder.sm.has_access("can_write", self.class_permission_name))

    def get_redirect(self) -> str:
        """Back to the page, or to the lead that the button stood on."""
        lead_id = request.form.get("lead", "")
        if lead_id:
            return url_for("LeadView.show", pk=lead_id)
        return url_for(f"{self.endpoint}.index")

    @expose("/")
    @may_read
    def index(self) -> Any:
        """Everything about the sync on one page."""
        figures = queries.figures()
        rows = queries.connections()
        return self.page(
            "leads/airtable.html",
            title="Airtable",
            rows=[
                {
                    "row": row,
                    "figures": figures[row.id],
                    "state": badge(words.state_of(row), words.STATES),
                    "reason": words.explain(row.error_code, row.last_error),
                    "lag": words.lag(figures[row.id]),
                    "webhook": words.webhook_trouble(row),
                    "direction": words.DIRECTIONS[row.direction],
                    "asked": len(row.asked_deletions or ()),
                }
                for row in rows
            ],
            conflicts=[
                (row, lead, words.field_name(row.field), words.value(row.ours), words.value(row.theirs))
                for row, lead in queries.conflicts()
            ],
            blocked=[
                (link, lead, words.explain(link.error_code, link.last_error))
                for link, lead in queries.blocked()
            ],
            names={row.id: row.name for row in rows},
            winners=words.WINNERS,
            writing=self.writes(),
            when=when,
            stand_in=any(row.stand_in for row in rows),
            remote_deletions=words.REMOTE_DELETIONS,
        )

    @expose("/start/<pk>", methods=["POST"])
    @may_write
    def start(self, pk: str) -> Response:
        """Begin, or go on."""
        if self.run(lambda: commands.start(pk)) is not None:
            self.toast(gettext("Leads and table are being brought in step."))
        return redirect(self.get_redirect())

    @expose("/pause/<pk>", methods=["POST"])
    @may_write
    def pause(self, pk: str) -> Response:
        """Touch nothing for now."""
        if self._is_active(pk) and self.run(lambda: (commands.pause(pk), True)):
            self.toast(gettext("Paused. Changes wait here."))
        return redirect(self.get_redirect())

    @expose("/resync/<pk>", methods=["POST"])
    @may_write
    def resync(self, pk: str) -> Response:
        """Compare everything again."""
        if self._is_active(pk) and self.run(lambda: (commands.resync(pk), True)):
            self.toast(gettext("Everything is being compared again."))
        return redirect(self.get_redirect())

    def _is_active(self, pk: str) -> bool:
        """Whether the table is kept in step now; says so when it is not."""
        if queries.connection(pk).state == "active":
            return True
        self.toast(gettext("This table is not being kept in step, so nothing was done."), "info")
        return False

    @expose("/lead/<pk>", methods=["POST"])
    @may_write
    def lead(self, pk: str) -> Response:
        """Write one lead again."""
        states = {row.state for row in queries.connections()}
        if not states - {"draft"}:
            self.toast(gettext("No table is connected, so nothing was done."), "info")
        elif self.run(lambda: (commands.resync_lead(queries.canonical(pk)), True)):
            self.toast(
                gettext("The lead will be written in a moment.")
                if "active" in states
                else gettext("The lead will be written once a table is kept in step again.")
            )
        return redirect(self.get_redirect())

    @expose("/deletions/<pk>", methods=["POST"])
    @may_write
    def deletions(self, pk: str) -> Response:
        """The answer to "so many records are gone"."""
        apply = request.args.get("answer") == "apply"
        self.run(lambda: deletions.answer_deletions(pk, apply=apply, by=auth.current()))
        return redirect(self.get_redirect())

    @expose("/conflict/<pk>/<choice>", methods=["POST"])
    @may_write
    def conflict(self, pk: str, choice: str) -> Response:
        """Take one of the two values."""
        known = queries.canonical(pk)
        try:
            done = self.run(lambda: (commands.resolve_conflict(known, choice, by=auth.current()), True))
        except NotFound:
            if not queries.is_decided(known):
                raise
            self.toast(gettext("This has been decided already."), "info")
            done = None
        if done:
            self.toast(gettext("Taken over."))
        return redirect(self.get_redirect())

    @expose("/remove/<pk>", methods=["POST"])
    @may_write
    def remove(self, pk: str) -> Response:
        """Forget a connection, and have Airtable forget its webhook: a base may have ten of them."""
        row = queries.connection(pk)
        if row.webhook_id:
            base_id, hook_id = row.base_id, row.webhook_id
            with suppress(ProviderError):  # it ends by itself within a week
                ask(row, base_id, lambda api: api.delete_webhook(base_id, hook_id))
        self.run(lambda: commands.remove_connection(pk))
        self.toast(gettext("Deleted."))
        return redirect(self.get_redirect())


LEAD_STATES = {
    "new": (_l("Not written yet"), "grey"),
    "synced": (_l("In step"), "green"),
    "blocked": (_l("Blocked"), "red"),
    "unlinked": (_l("Not kept in step"), "grey"),
}


def of_lead(lead_id: str, view: Any) -> dict[str, Any] | None:
    """What a lead's card says of Airtable; None when nothing, or not to this user."""
    if not view.appbuilder.sm.has_access("can_read", AirtableView.class_permission_name):
        return None
    link = queries.link_of(lead_id)
    if link is None:
        return None
    row = queries.connection(link.connection_id) if link.connection_id else None
    return {
        "link": link,
        "connection": row,
        "state": badge(link.status, LEAD_STATES),
        "reason": words.explain(link.error_code, link.last_error),
        "writing": view.appbuilder.sm.has_access("can_write", AirtableView.class_permission_name),
        "when": when,
    }
