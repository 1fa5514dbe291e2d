"""What the webhooks service has to say on the home page."""

from __future__ import annotations

from typing import Any

from flask_babel import gettext, ngettext
from flask_babel import lazy_gettext as _l

from app.admin import home
from app.webhooks import queries


def _state() -> home.State:
    off = queries.count_disabled_by_failure()
    if off:
        return home.State(
            "error",
            ngettext(
                "%(num)s endpoint was switched off because it failed.",
                "%(num)s endpoints were switched off because they failed.",
                off,
            ),
        )
    failing = queries.count_failing()
    if failing:
        return home.State(
            "warning",
            ngettext(
                "%(num)s endpoint does not take what it gets.",
                "%(num)s endpoints do not take what they get.",
                failing,
            ),
        )
    if not queries.count_endpoints():
        return home.State("ok", gettext("Nobody listens."))
    return home.State("ok", gettext("All endpoints take what they get."))


def add_to_home(appbuilder: Any) -> None:
    """Register cards and health."""
    home.add(
        appbuilder,
        home.Card(
            key="webhooks_delivered",
            label=_l("Webhooks delivered today"),
            icon="fa-satellite-dish",
            value=queries.count_delivered_today,
            endpoint="DeliveryView.list",
            permission="WebhookDeliveries",
            position=80,
            quiet=True,
        ),
        home.Card(
            key="webhooks_failed",
            label=_l("Failed webhooks"),
            icon="fa-triangle-exclamation",
            value=queries.count_failed,
            endpoint="DeliveryView.list",
            permission="WebhookDeliveries",
            hint=_l("in the last 7 days"),
            position=92,
            quiet=True,
        ),
        home.Health(
            key="webhooks",
            label=_l("Webhooks"),
            state=_state,
            endpoint="DeliveryView.list",
            position=60,
            needs=("webhooks",),
        ),
    )
