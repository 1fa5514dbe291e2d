"""The WhatsApp providers by name. A new one is a module here, a line below, a pass of the contract suite."""

from __future__ import annotations

from app.whatsapp.providers.base import (
    Accepted,
    Choice,
    CredentialField,
    Credentials,
    Hook,
    InboundMessage,
    Kind,
    Limits,
    Location,
    Media,
    Outgoing,
    Raw,
    Recipient,
    Sender,
    Status,
    StatusUpdate,
    user_id_of,
)
from app.whatsapp.providers.meta import MetaSender, handshake
from app.whatsapp.providers.simulator import SimulatorSender
from app.whatsapp.providers.twilio import TwilioSender

SENDERS: dict[str, Sender] = {
    "twilio": TwilioSender(),
    "meta": MetaSender(),
    "simulator": SimulatorSender(),
}

__all__ = [
    "SENDERS",
    "Accepted",
    "Choice",
    "CredentialField",
    "Credentials",
    "Hook",
    "InboundMessage",
    "Kind",
    "Limits",
    "Location",
    "Media",
    "MetaSender",
    "Outgoing",
    "Raw",
    "Recipient",
    "Sender",
    "SimulatorSender",
    "Status",
    "StatusUpdate",
    "TwilioSender",
    "handshake",
    "user_id_of",
]
