"""The pure flow engine: what a conversation says next, decided without touching anything.

State and reply in, new state and effects out. Production, simulator, tests and importers all run this. It
imports no framework, no database and no network; time and ids are arguments.
"""

from __future__ import annotations

from app.whatsapp.engine.advance import advance, start
from app.whatsapp.engine.definition import Flow, compile_flow
from app.whatsapp.engine.effects import (
    CaptureLead,
    Choice,
    Effect,
    Finished,
    HandOver,
    Reply,
    RequestEmail,
    SendMessage,
    SetTimer,
    Step,
    Timeout,
)
from app.whatsapp.engine.upgrade import SCHEMA, upgrade
from app.whatsapp.engine.validate import blocking, validate

__all__ = [
    "SCHEMA",
    "CaptureLead",
    "Choice",
    "Effect",
    "Finished",
    "Flow",
    "HandOver",
    "Reply",
    "RequestEmail",
    "SendMessage",
    "SetTimer",
    "Step",
    "Timeout",
    "advance",
    "blocking",
    "compile_flow",
    "start",
    "upgrade",
    "validate",
]
