"""What goes into the engine and what comes out: the border between deciding and doing.

The engine decides; whoever calls it does. An effect is plain data, so that production, the simulator and the
tests carry out the same decisions each in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["completed", "failed", "limit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What the contact sent.

    text: the words (a button's title, a picture's caption); payload: the id of the choice that was tapped;
    kind: "text" or "button"; anything else ("image", "location" …) answers no question.
    """

    text: str = ""
    payload: str | None = None
    kind: str = "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeout:
    """The timer set in this turn has run out; of another turn it is stale and changes nothing."""

    turn: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One of the answers offered: id comes back as Reply.payload, label is read by the contact."""

    id: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SendMessage:
    """Send this text, with buttons (up to 3 choices) or a list (up to 10)."""

    text: str
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptureLead:
    """Hand the lead over; fields without blank ones. key: the same act of the same conversation,
    "turn:node"."""

    fields: dict[str, str]
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestEmail:
    """Ask for an e-mail by the template's name. key: as in CaptureLead."""

    template: str
    to: str
    variables: dict[str, str]
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetTimer:
    """Come back with Timeout(turn) after so many minutes, unless something else happens first."""

    minutes: int
    turn: int


@dataclass(frozen=True, kw_only=True, slots=True)
class HandOver:
    """A person takes over; note tells them what it is about."""

    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The conversation is over; "limit": it was stopped because it went in circles."""

    outcome: Outcome


Effect = SendMessage | CaptureLead | RequestEmail | SetTimer | HandOver | Finished


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One turn: the new state (JSON-plain), what to do in this order, and the way taken as (node id,
    what)."""

    state: dict[str, Any]
    effects: tuple[Effect, ...] = ()
    trace: tuple[tuple[str, str], ...] = ()
