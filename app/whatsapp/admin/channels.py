"""Channels: the numbers we speak from. The form asks what the provider's adapter says that it needs."""

from __future__ import annotations

from typing import Any

from flask import abort, current_app, redirect, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from app.admin.cells import badge, when
from app.admin.forms import say
from app.admin.views import CommandInterface, CommandView, MenuEntry, expose, may_write
from app.kit.db import is_id, transaction
from app.kit.errors import EmbudoError, Forbidden, NotFound
from app.kit.rest.problems import sentences
from app.kit.secrets import Undecryptable
from app.whatsapp.admin import words
from app.whatsapp.commands import channels as commands
from app.whatsapp.models import Channel
from app.whatsapp.providers import SENDERS
from app.whatsapp.queries import channels as queries
from app.whatsapp.queries import flows

UNPROCESSABLE = 422


def _health(row: Channel) -> Any:
    if not row.active:
        return badge(gettext("Switched off"), colour="grey")
    if row.fault == queries.UNREADABLE:
        return badge(gettext("Credentials not readable"), colour="red")
    if row.fault:
        return badge(gettext("Refused by the provider"), colour="red")
    if row.provider != "simulator" and row.last_webhook_at is None:
        return badge(gettext("No webhook received yet"), colour="amber")
    return badge(gettext("In order"), colour="green")


class ChannelView(CommandView):
    """List, form and health of channels."""

    datamodel = CommandInterface(
        Channel,
        add=lambda values: commands.add_channel(**values),
        edit=lambda channel_id, changes: commands.change_channel(channel_id, changes),
        delete=lambda channel_id: commands.delete_channel(channel_id),
    )
    class_permission_name = "Channels"
    roles = {"read": ("manager", "viewer"), "write": ()}
    route_base = "/admin/channels"
    menu = MenuEntry("automation", _l("Channels"), "fa-tower-cell", position=30)
    list_title, add_title, edit_title, show_title = (
        _l("Channels"),
        _l("New channel"),
        _l("Edit channel"),
        _l("Channel"),
    )
    list_columns = ["name", "provider", "address", "default_flow", "health", "last_webhook_at"]
    choices = {"provider": words.PROVIDER}
    cells = {"health": _health, "last_webhook_at": lambda row: when(row.last_webhook_at)}
    search_columns = ["provider", "active"]
    order_columns = ["name", "last_webhook_at"]
    base_order = ("name", "asc")
    show_columns = ["name", "provider", "address", "default_flow", "active", "health", "last_webhook_at"]
    add_columns = edit_columns = ["name"]
    label_columns = {
        "name": _l("Name"),
        "provider": _l("Provider"),
        "address": _l("Number or id"),
        "default_flow": _l("Default flow"),
        "active": _l("Switched on"),
        "health": _l("Health"),
        "last_webhook_at": _l("Last webhook received"),
    }
    empty_text = _l("No channels yet. Add one for your provider, or a simulator.")
    show_template = "whatsapp/channel.html"

    def show_context(self, row: Channel) -> dict[str, Any]:
        """What to paste at the provider."""
        public = current_app.config.get("PUBLIC_URL") or request.host_url.rstrip("/")
        return {
            # The provider's own words are in no catalogue and stay as they are.
            "fault": gettext(row.fault) if row.fault else "",
            "is_refused": row.fault != queries.UNREADABLE,
            "paste": words.PASTE.get(row.provider),
            "webhook_url": f"{public.rstrip('/')}/message" if row.provider != "simulator" else None,
            "public": bool(current_app.config.get("PUBLIC_URL")),
            "from_environment": row.provider != "simulator" and not self._stored(row),
        }

    @expose("/add", methods=["GET", "POST"])
    @may_write
    def add(self) -> Any:
        """Choose a provider, then fill in what it needs."""
        provider = request.values.get("provider", "")
        if provider not in SENDERS:
            return self.render_template(
                "whatsapp/channel_new.html",
                title=self.add_title,
                view=self,
                providers=words.PROVIDER,
                about=words.ABOUT,
            )
        return self._form(provider, None)

    @expose("/edit/<pk>", methods=["GET", "POST"])
    @may_write
    def edit(self, pk: str) -> Any:
        """Secrets are never shown; left empty they stay as they are."""
        row = self.find(pk)
        return self._form(row.provider, row)

    def _form(self, provider: str, row: Channel | None) -> Any:
        fields = SENDERS[provider].FIELDS
        stored = self._stored(row) if row is not None else {}
        values = {
            "name": row.name if row is not None else "",
            "default_flow_id": row.default_flow_id if row is not None else None,
            "active": row.active if row is not None else True,
            "credentials": {item.name: "" if item.secret else stored.get(item.name, "") for item in fields},
        }
        problems: dict[str, list[str]] = {}
        if request.method == "POST":
            values = self._posted(provider)
            saved, problems = self._save(provider, row, values)
            if saved is not None:
                self.toast(gettext("Saved."))
                return redirect(url_for("ChannelView.show", pk=saved.id))
        page = self.render_template(
            "whatsapp/channel_form.html",
            title=self.edit_title if row is not None else self.add_title,
            view=self,
            row=row,
            provider=provider,
            provider_name=words.PROVIDER[provider][0],
            fields=fields,
            stored=set(stored),
            around=set(queries.environment(provider)),
            values=values,
            problems=problems,
            flows=[flow for flow in flows.flows() if flow.published_version is not None],
        )
        return page, UNPROCESSABLE if problems else 200

    def _posted(self, provider: str) -> dict[str, Any]:
        form = request.form
        return {
            "name": form.get("name", ""),
            "default_flow_id": form.get("default_flow_id") or None,
            "active": "active" in form,
            "credentials": {
                item.name: form.get(f"credentials.{item.name}", "").strip()
                for item in SENDERS[provider].FIELDS
            },
        }

    def _save(
        self, provider: str, row: Channel | None, values: dict[str, Any]
    ) -> tuple[Channel | None, dict[str, list[str]]]:
        flow_id = values["default_flow_id"]
        if flow_id is not None and not is_id(flow_id):
            abort(400)
        try:
            with transaction():
                if row is None:
                    return commands.add_channel(provider=provider, **values), {}
                return commands.change_channel(row.id, values), {}
        except (NotFound, Forbidden):
            raise
        except EmbudoError as error:
            problems: dict[str, list[str]] = {}
            for item in error.problems:
                where = item.where.strip("/").replace("/", ".")
                problems.setdefault(where, []).append(say(item))
            return None, problems or {"": sentences(error)}

    def _stored(self, row: Channel) -> dict[str, str]:
        try:
            return dict(row.credentials or {})
        except Undecryptable:
            self.toast(gettext(queries.UNREADABLE), "danger")
            return {}
