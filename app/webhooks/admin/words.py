"""How webhooks are spoken of: states, and errors as a person would say them."""

from __future__ import annotations

from typing import Any

from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from app.webhooks.models import BY_HAND, GONE, Endpoint

STATUSES = {
    "pending": (_l("On its way"), "blue"),
    "delivered": (_l("Delivered"), "green"),
    "failed": (_l("Failed"), "red"),
}

WAITING = (_l("Will be tried again"), "amber")
"""Instead of “On its way” for deliveries that failed before."""

STATES = {
    "on": (_l("On"), "green"),
    "failing": (_l("Failing"), "amber"),
    "off": (_l("Off"), "grey"),
    "switched_off": (_l("Switched off"), "red"),
}

_ERRORS = {
    "redirect": _l("It answered with a redirect; these are not followed. Give the final address."),
    "gone": _l("It answered that it is gone (410)."),
    "private_address": _l("The host's name leads to a private network; nothing is sent there."),
    "dns": _l("The DNS does not know the host."),
    "connect": _l("No connection: nothing answers at this address."),
    "tls": _l("No secure connection: the certificate is not one that we trust."),
    "timeout": _l("It took too long."),
    "no_answer": _l("The connection ended before an answer came."),
    "url": _l("The address cannot be called."),
    "bug": _l("A fault in our own program; the log says more."),
    "endpoint_disabled": _l("The endpoint was switched off while this waited."),
    "erased": _l("The content was erased with its lead before it left."),
}


def explain(error: str | None, status: int | None) -> str:
    """An error in plain words."""
    if error is None:
        return ""
    if error == "http":
        return gettext("It answered with the status %(status)s.", status=status)
    return str(_ERRORS.get(error, error))


def state_of(endpoint: Endpoint) -> str:
    """Key of STATES."""
    if endpoint.enabled:
        return "failing" if endpoint.first_failure_at else "on"
    return "off" if endpoint.disabled_reason == BY_HAND else "switched_off"


def trouble_of(endpoint: Endpoint) -> Any:
    """A sentence about what is wrong with an endpoint; "" when nothing is."""
    state = state_of(endpoint)
    if state == "switched_off":
        if endpoint.disabled_reason == GONE:
            return gettext("It answered that it is gone (410), so it was switched off.")
        return gettext("Every call failed for five days, so it was switched off.")
    return gettext("Calls fail; they are tried again for three days.") if state == "failing" else ""
