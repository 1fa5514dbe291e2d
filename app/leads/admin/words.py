"""How leads are spoken of: stages in the reader's language, owners by name, timeline lines as sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import current_app, g, url_for
from flask_babel import format_currency, get_locale, gettext
from flask_babel import lazy_gettext as _l

from app.kit import auth
from app.leads.models import Lead, LeadEvent, Stage
from app.leads.queries import funnel

# Roles whose users may own leads.
OWNING_ROLES = frozenset({"Admin", "manager", "seller"})

SOURCES = {
    "whatsapp": (_l("WhatsApp"), "green"),
    "web": (_l("Website"), "blue"),
    "api": (_l("API"), "violet"),
    "import": (_l("Import"), "teal"),
    "manual": (_l("By hand"), "grey"),
    "demo": (_l("Demo"), "amber"),
    "airtable": (_l("Airtable"), "blue"),
}
LANGUAGES = {"es": _l("Spanish"), "en": _l("English")}
# What forms offer first; the API and imports take every ISO 4217 code.
CURRENCIES = ("EUR", "USD", "MXN", "COP", "ARS", "CLP", "PEN", "BRL", "GBP", "CHF")

FIELDS = {
    "name": _l("Name"),
    "company": _l("Company"),
    "email": _l("E-mail"),
    "phone": _l("Phone"),
    "stage_key": _l("Stage"),
    "stage": _l("Stage"),
    "source": _l("Source"),
    "language": _l("Language"),
    "owner_id": _l("Owner"),
    "owner_name": _l("Owner"),
    "amount": _l("Amount"),
    "currency": _l("Currency"),
    "next_contact_on": _l("Next contact"),
    "notes": _l("Notes"),
    "custom": _l("Further fields"),
    "tags": _l("Tags"),
    "tag_names": _l("Tags"),
    "created_at": _l("Created"),
    "updated_at": _l("Changed"),
    "contact_id": _l("WhatsApp contact"),
    "conversation_id": _l("Conversation"),
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """A timeline entry as the lead's card shows it."""

    icon: str
    text: str
    detail: str = ""
    url: str | None = None


def stage_name(stage: Stage) -> str:
    """The stage's name in the reader's language."""
    locale = get_locale()
    return str(stage.name_es if locale is not None and locale.language == "es" else stage.name_en)


def stages() -> dict[str, tuple[str, str]]:
    """Key → (name, colour) in the funnel's order; asked once per request."""
    if "leads_stages" not in g:
        g.leads_stages = funnel.stages()
    return {stage.key: (stage_name(stage), stage.colour) for stage in g.leads_stages}


def owners() -> dict[int, str]:
    """Users who may own leads: id → name. A seller sees only themselves."""
    who = auth.current()
    if who.own_only and who.user_id is not None:
        return {who.user_id: who.name}
    if "leads_owners" not in g:
        users = current_app.appbuilder.sm.get_all_users()  # type: ignore[attr-defined]
        g.leads_owners = {
            user.id: user.username
            for user in sorted(users, key=lambda user: user.username)
            if user.active and OWNING_ROLES & {role.name for role in user.roles}
        }
    found: dict[int, str] = g.leads_owners
    return found


def money(lead: Lead) -> str:
    """The amount with its currency, or nothing."""
    return "" if lead.amount is None else str(format_currency(lead.amount, lead.currency))


def sums(by_currency: dict[str, Any]) -> str:
    """Sums of several currencies side by side; adding them would need a rate."""
    locale = get_locale()
    pattern = locale.currency_formats["standard"].pattern.replace(".00", "") if locale else "#,##0 ¤"
    return " + ".join(
        str(format_currency(total, currency, format=pattern, currency_digits=False))
        for currency, total in sorted(by_currency.items())
    )


def neighbour(endpoint: str, **values: Any) -> str | None:
    """The address of another service's page, or None where that service is not served here."""
    return url_for(endpoint, **values) if endpoint in current_app.view_functions else None


def describe(event: LeadEvent) -> Line:
    """A timeline entry in words."""
    data = event.data or {}
    maker = _LINES.get(event.what)
    return maker(data) if maker else Line(icon="fa-circle-info", text=event.what)


def _created(data: dict[str, Any]) -> Line:
    source = SOURCES.get(data.get("source", ""), ("", ""))[0]
    return Line(icon="fa-plus", text=gettext("Lead created"), detail=str(source))


def _found(data: dict[str, Any]) -> Line:
    told = [f"{_field(name)}: {value}" for name, value in data.get("told", {}).items()]
    filled = ", ".join(_field(name) for name in data.get("filled", []))
    parts = [gettext("Filled in: %(fields)s", fields=filled)] if filled else []
    if told:
        parts.append(gettext("Also told, not taken over: %(fields)s", fields="; ".join(told)))
    return Line(icon="fa-user-check", text=gettext("Came in again"), detail="\n".join(parts))


def _changed(data: dict[str, Any]) -> Line:
    lines = []
    for name, (old, new) in data.get("changes", {}).items():
        lines.append(f"{_field(name)}: {_value(old)} → {_value(new)}")
    return Line(icon="fa-pen", text=gettext("Changed"), detail="\n".join(lines))


def _moved(data: dict[str, Any]) -> Line:
    names = stages()
    keys = [str(data.get(end, "")) for end in ("from", "to")]
    old, new = (names[key][0] if key in names else key for key in keys)
    return Line(icon="fa-arrow-right", text=gettext("Moved from %(old)s to %(new)s", old=old, new=new))


def _assigned(data: dict[str, Any]) -> Line:
    if not data.get("to"):
        return Line(icon="fa-user-slash", text=gettext("Nobody's any more"))
    return Line(icon="fa-user", text=gettext("Assigned to %(name)s", name=data["to"]))


def _duplicate(data: dict[str, Any]) -> Line:
    fields = ", ".join(_field(name) for name in data.get("fields", []))
    return Line(
        icon="fa-clone",
        text=gettext("Possible duplicate of another lead"),
        detail=fields,
        url=neighbour("LeadView.show", pk=data["other_id"]) if data.get("other_id") else None,
    )


def _unreadable(data: dict[str, Any]) -> Line:
    return Line(
        icon="fa-triangle-exclamation",
        text=gettext("Could not be read, kept in the notes"),
        detail=data.get("text", ""),
    )


def _mail(icon: str, text: Any, key: str) -> Any:
    def make(data: dict[str, Any]) -> Line:
        url = neighbour("OutboxView.show", pk=data["message_id"]) if data.get("message_id") else None
        return Line(icon=icon, text=str(text), detail=str(data.get(key) or ""), url=url)

    return make


def _field(name: str) -> str:
    return str(FIELDS.get(name, name.removeprefix("custom.")))


def _value(value: Any) -> str:
    if value in (None, "", [], {}):
        return "—"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return str(value)


_LINES: dict[str, Any] = {
    "created": _created,
    "found_again": _found,
    "changed": _changed,
    "stage_changed": _moved,
    "assigned": _assigned,
    "note": lambda data: Line(icon="fa-note-sticky", text=gettext("Note"), detail=data.get("text", "")),
    "possible_duplicate": _duplicate,
    "unreadable": _unreadable,
    "deleted": lambda _: Line(icon="fa-trash", text=gettext("Deleted")),
    "restored": lambda _: Line(icon="fa-rotate-left", text=gettext("Restored")),
    "email_sent": _mail("fa-envelope", _l("E-mail sent"), "template"),
    "email_failed": _mail("fa-envelope-circle-check", _l("E-mail failed"), "reason"),
    "email_bounced": _mail("fa-envelope-circle-check", _l("E-mail came back"), "reason"),
    "email_complained": _mail("fa-flag", _l("E-mail called spam"), "template"),
    "email_unsubscribed": _mail("fa-bell-slash", _l("Wants no more marketing"), "template"),
}
