"""The mails of a lead on its card: asked from the e-mail service, which may run elsewhere or not at all.

The card must not depend on it: who looks a lead up wants its phone number also while mails cannot be listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from markupsafe import Markup

from app.admin.cells import badge
from app.kit import auth, remote, telemetry
from app.kit.errors import EmbudoError, ProviderError
from app.leads.admin import words

SHOWN = 5
"""The latest mails on a card; the outbox has them all."""

WAIT_SECONDS = 1.0
"""How long a person waits for a part of the page that is not what they came for."""

STATUSES = {
    "queued": (_l("Queued"), "blue"),
    "sending": (_l("Being sent"), "blue"),
    "deferred": (_l("Will be tried again"), "amber"),
    "sent": (_l("Sent"), "green"),
    "failed": (_l("Failed"), "red"),
    "unknown": (_l("Perhaps sent"), "violet"),
    "cancelled": (_l("Stopped"), "grey"),
    "suppressed": (_l("Held back"), "grey"),
}
"""What the e-mail service's statuses are called; one that is new there is shown as it is."""

log = telemetry.get_logger("leads")


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A line of the card."""

    subject: str
    status: Markup
    at: datetime
    url: str | None


@dataclass(frozen=True, kw_only=True)
class Mails:
    """What the card says; problem instead of mails when the service could not be asked."""

    items: tuple[Mail, ...] = ()
    problem: str = ""


def of_lead(lead_id: str) -> Mails | None:
    """The lead's latest mails; None where there is no e-mail service, or the user may not see mails."""
    if not auth.current().may("email:read") or not remote.reachable("email"):
        return None
    path = "/email?" + urlencode({"lead_id": lead_id, "limit": SHOWN})
    try:
        found = remote.call("email", path, method="GET", read=WAIT_SECONDS)["items"]
    except (ProviderError, EmbudoError) as error:
        log.warning("mails of a lead could not be asked", lead_id=lead_id, error=type(error).__name__)
        return Mails(problem=gettext("The e-mail service does not answer now; its mails are not shown."))
    return Mails(items=tuple(_mail(item) for item in found))


def _mail(item: dict[str, Any]) -> Mail:
    status = str(item.get("status", ""))
    return Mail(
        subject=str(item.get("subject", "")),
        status=badge(status, STATUSES),
        at=datetime.fromisoformat(item["created_at"]),
        url=words.neighbour("OutboxView.show", pk=item["id"]),
    )
