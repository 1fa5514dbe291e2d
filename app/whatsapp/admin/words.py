"""What states are called on the screens, in both languages."""

from __future__ import annotations

from flask_babel import lazy_gettext as _l

CONVERSATION = {
    "running": (_l("Running"), "blue"),
    "waiting": (_l("Waiting for an answer"), "blue"),
    "completed": (_l("Completed"), "green"),
    "expired": (_l("Expired"), "grey"),
    "handed_over": (_l("With a person"), "amber"),
    "failed": (_l("Stopped"), "red"),
}

MODE = {"bot": (_l("Bot"), "teal"), "human": (_l("Person"), "amber")}

MESSAGE = {
    "received": _l("Received"),
    "queued": _l("Waiting to be sent"),
    "sending": _l("Being sent"),
    "sent": _l("Sent"),
    "delivered": _l("Delivered"),
    "read": _l("Read"),
    "failed": _l("Failed"),
    "unknown": _l("Nobody knows whether it arrived"),
}

TICKS = {
    "queued": "fa-clock",
    "sending": "fa-clock",
    "sent": "fa-check",
    "delivered": "fa-check-double",
    "read": "fa-check-double",
    "failed": "fa-triangle-exclamation",
    "unknown": "fa-circle-question",
}
"""Icon of each state of a message of ours."""

KIND = {
    "image": _l("Picture"),
    "audio": _l("Voice message"),
    "video": _l("Video"),
    "document": _l("Document"),
    "sticker": _l("Sticker"),
    "location": _l("Location"),
    "contacts": _l("Contact card"),
    "reaction": _l("Reaction"),
    "system": _l("Notice of WhatsApp"),
    "unsupported": _l("A message that WhatsApp does not pass on"),
    "unknown": _l("A kind of message this release does not know"),
}

PROVIDER = {
    "twilio": ("Twilio", "red"),
    "meta": ("WhatsApp Cloud API", "green"),
    "simulator": (_l("Simulator"), "violet"),
}

ABOUT = {
    "twilio": ("fa-phone", _l("A WhatsApp sender in a Twilio account.")),
    "meta": ("fa-comment-dots", _l("A number in Meta's WhatsApp Business platform, without a middleman.")),
    "simulator": ("fa-mobile-screen", _l("A phone in the browser. Needs no account.")),
}
"""Icon and sentence with which a provider is offered."""

PASTE = {
    "twilio": _l(
        "Paste this address in Twilio, at your WhatsApp sender, as “Webhook URL for incoming messages” (POST)."
    ),
    "meta": _l(
        "Paste this address in Meta's app, under WhatsApp → Configuration, with your verify token, and subscribe to “messages”."
    ),
}
"""Where the address of the webhook goes, of those that have one."""

REASONS = {
    "63016": _l(
        "More than 24 hours have passed since the contact wrote; WhatsApp allows only templates then."
    ),
    "131047": _l(
        "More than 24 hours have passed since the contact wrote; WhatsApp allows only templates then."
    ),
    "131026": _l("The number has no WhatsApp, or cannot receive this message."),
    "63024": _l("The number has no WhatsApp, or cannot receive this message."),
    "63003": _l("The number has no WhatsApp, or cannot receive this message."),
    "131050": _l("The contact does not want messages from this number."),
    "21610": _l("The contact does not want messages from this number."),
    "63015": _l("The contact has not joined the Twilio sandbox."),
    "131030": _l("This test number may only write to the numbers on its list."),
    "190": _l("The access token has expired. Enter a new one in the channel."),
    "20003": _l("The account SID or the auth token is wrong. Correct them in the channel."),
    "130429": _l("Too many messages at once."),
    "63018": _l("Too many messages at once."),
    "131056": _l("Too many messages to this contact at once."),
}
"""Why a message failed, by the provider's code, for those that people meet."""

FAILURES = (
    _l("The contact did not answer the question, and the flow says nothing about that."),
    _l("The conversation went in circles and was stopped."),
    _l("The process ended while the provider was called."),
)
"""Sentences that commands store and screens translate; here so that the catalogue's extractor finds them."""


def reason(code: str | None, detail: str | None) -> str:
    """Why a message failed, in plain words where the code is known."""
    return str(REASONS.get(code or "", detail or ""))
