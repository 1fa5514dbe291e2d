"""One turn of a conversation: state and reply in, new state and effects out. Nothing else happens here.

Production, the simulator, the tests and the importers' checks all run this very function; time is an
argument, so the same talk always has the same outcome. The state given is never changed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from app.kit.text import LiquidProblem, Template
from app.whatsapp.engine.answers import read_answer
from app.whatsapp.engine.branching import applies
from app.whatsapp.engine.definition import (
    Ask,
    Branch,
    EmailRequest,
    End,
    Flow,
    GoTo,
    Human,
    LeadCapture,
    SendText,
    SetVariable,
    label_variable,
)
from app.whatsapp.engine.effects import (
    CaptureLead,
    Choice,
    Effect,
    Finished,
    HandOver,
    Outcome,
    Reply,
    RequestEmail,
    SendMessage,
    SetTimer,
    Step,
    Timeout,
)
from app.whatsapp.engine.limits import (
    MAX_SAME_TEXT,
    MAX_STEPS_PER_TURN,
    MAX_TEXT_CHARS,
    MAX_TURNS,
    MAX_VALUE_CHARS,
    SAID_KEPT,
    SAME_TEXT_SECONDS,
)

MAX_INT: Final = 2**53  # what JSON readers agree on


def start(
    flow: Flow,
    *,
    contact: dict[str, Any],
    variables: Mapping[str, Any],
    channel: dict[str, Any],
    now: datetime,
    message: Mapping[str, Any] | None = None,
) -> Step:
    """Begin a conversation.

    contact: name, phone, user_id (plain); variables: given beforehand, over the flow's defaults; message: the
    one that started it, ``{"text": …}``; now: aware, in the zone
    whose today and tomorrow people mean.
    """
    given = {str(name): _plain(value) for name, value in variables.items()}
    state: dict[str, Any] = {
        "node": None,
        "vars": {**flow.defaults, **given},
        "turn": 1,
        "retries": 0,
        "status": "waiting",
        "steps": 0,
        "message": clean(str((message or {}).get("text") or "")),
        "said": {},
    }
    turn = _Turn(flow, state, contact, channel, now)
    turn.walk(flow.start)
    return turn.step()


def advance(
    flow: Flow,
    state: dict[str, Any],
    reply: Reply | Timeout | None,
    *,
    contact: dict[str, Any],
    channel: dict[str, Any],
    now: datetime,
) -> Step:
    """Go on with a conversation that waits.

    Nothing to say (None), a stale Timeout, or a conversation that does not wait: a Step that changes nothing.
    """
    if reply is None or state["status"] != "waiting":
        return Step(state=state)
    if type(reply) is Timeout and reply.turn != state["turn"]:
        return Step(state=state)
    state = {**state, "vars": dict(state["vars"]), "said": dict(state["said"]), "turn": state["turn"] + 1}
    turn = _Turn(flow, state, contact, channel, now)
    node = flow.nodes.get(state["node"])
    if state["turn"] > MAX_TURNS:
        turn.finish("limit")
    elif type(node) is not Ask:  # only when a state is run on another flow than its own
        turn.mark(str(state["node"]), "missing")
        turn.finish("failed")
    elif type(reply) is Timeout:
        turn.timed_out(node)
    elif isinstance(reply, Reply):
        turn.answered(node, reply)
    return turn.step()


def clean(text: str) -> str:
    """At most MAX_VALUE_CHARS, without what PostgreSQL (NUL) and UTF-8 (half a surrogate pair) refuse."""
    text = text[:MAX_VALUE_CHARS]
    if text.isascii():
        return text.replace("\x00", "") if "\x00" in text else text
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _plain(value: Any) -> Any:
    """A variable's value as JSON knows it; anything but text, number, truth and nothing becomes its text."""
    if isinstance(value, str):
        return clean(value)
    if (
        value is None
        or isinstance(value, bool)
        or (isinstance(value, (int, float)) and abs(value) <= MAX_INT)
    ):
        return value
    return clean(str(value))


class _Turn:
    """What one turn gathers while it walks from node to node."""

    __slots__ = ("channel", "contact", "data", "effects", "flow", "now", "over", "state", "trace")

    def __init__(
        self,
        flow: Flow,
        state: dict[str, Any],
        contact: dict[str, Any],
        channel: dict[str, Any],
        now: datetime,
    ) -> None:
        self.flow = flow
        self.state = state
        self.contact = contact
        self.now = now
        self.over = False  # waiting for an answer, or ended
        self.effects: list[Effect] = []
        self.trace: list[tuple[str, str]] = []
        self.data = {
            "contact": contact,
            "vars": state["vars"],
            "message": {"text": state["message"]},
            "flow": {"name": flow.name},
            "channel": channel,
            "now": now.isoformat(timespec="seconds"),
        }

    def step(self) -> Step:
        return Step(state=self.state, effects=tuple(self.effects), trace=tuple(self.trace))

    def mark(self, node_id: str, what: str) -> None:
        self.trace.append((node_id, what))

    def walk(self, node_id: str | None) -> None:
        """From this node on, until a question, an end or a limit."""
        steps = 0
        while node_id is not None:
            node = self.flow.nodes.get(node_id)
            if node is None or steps >= MAX_STEPS_PER_TURN:
                self.mark(node_id, "missing" if node is None else "limit")
                self.finish("failed" if node is None else "limit")
                return
            steps += 1
            self.state["steps"] += 1
            node_id = VISITS[type(node)](self, node)
            if self.over:
                return
        self.finish("completed")

    def finish(self, outcome: Outcome) -> None:
        self.state["status"] = "completed" if outcome == "completed" else "failed"
        self.state["node"] = None
        self.effects.append(Finished(outcome=outcome))
        self.over = True

    def fill(self, node_id: str, template: Template) -> str:
        """The template filled; what is wrong with it is traced and never stops the conversation."""
        unknown: list[str] = []
        try:
            filled = template.render(self.data, unknown=unknown)
        except LiquidProblem as problem:
            self.mark(node_id, f"template: {problem.message}")
            return ""
        for name in unknown:
            if name not in self.flow.unset:
                self.mark(node_id, f"unknown: {name}")
        return filled

    def say(self, node_id: str, text: str, choices: tuple[Choice, ...] = ()) -> None:
        """Send a text, unless it is blank (WhatsApp refuses it) or was said too often (a loop with a
        machine)."""
        text = text.strip()[:MAX_TEXT_CHARS]
        if not text:
            self.mark(node_id, "blank")
            return
        if self._said_too_often(text):
            self.mark(node_id, "repeated")
            self.finish("limit")
            return
        self.effects.append(SendMessage(text=text, choices=choices))

    def _said_too_often(self, text: str) -> bool:
        said = self.state["said"]
        key = str(zlib.crc32(text.encode("utf-8", "replace")))
        second = int(self.now.timestamp())
        since, count = said.pop(key, (second, 0))
        if second - since > SAME_TEXT_SECONDS:
            since, count = second, 0
        said[key] = [since, count + 1]
        if len(said) > SAID_KEPT:  # the order of keys does not survive JSONB
            del said[min(said, key=lambda other: said[other][0])]
        return bool(count >= MAX_SAME_TEXT)

    # A question: asked, answered, asked again, given up

    def ask(self, node: Ask) -> None:
        self.state["node"] = node.id
        self.state["retries"] = 0
        self.mark(node.id, "asked")
        self._wait(node, node.text)

    def _wait(self, node: Ask, question: Template) -> None:
        self.say(node.id, self.fill(node.id, question), node.choices)
        if not self.over and node.timeout_minutes:
            self.effects.append(SetTimer(minutes=node.timeout_minutes, turn=self.state["turn"]))
        self.over = True

    def answered(self, node: Ask, reply: Reply) -> None:
        self.state["message"] = self.data["message"]["text"] = clean(reply.text)
        answer = read_answer(node, reply, language=self.flow.language, contact=self.contact, now=self.now)
        if answer is None:
            self._misunderstood(node)
            return
        self.state["vars"][node.variable] = _plain(answer.value)
        self.mark(node.id, "answered")
        if answer.option is None:
            self.walk(node.next)
            return
        self.state["vars"][label_variable(node.variable)] = answer.option.choice.label
        self.walk(answer.option.exit)

    def _misunderstood(self, node: Ask) -> None:
        self.state["retries"] += 1
        if self.state["retries"] <= node.retries:
            self.mark(node.id, "retried")
            self._wait(node, node.retry_text)
            return
        self.mark(node.id, "gave_up")
        self._leave(node.failed)

    def timed_out(self, node: Ask) -> None:
        self.mark(node.id, "timed_out")
        self._leave(node.timeout)

    def _leave(self, exit_id: str | None) -> None:
        """Without an answer: by the exit, or without one the conversation has failed."""
        if exit_id is None:
            self.finish("failed")
        else:
            self.walk(exit_id)


def _send_text(turn: _Turn, node: SendText) -> str | None:
    turn.mark(node.id, "sent")
    turn.say(node.id, turn.fill(node.id, node.text))
    return node.next


def _ask(turn: _Turn, node: Ask) -> str | None:
    turn.ask(node)
    return node.id


def _branch(turn: _Turn, node: Branch) -> str | None:
    def render(template: Template) -> str:
        return turn.fill(node.id, template)

    for case in node.cases:
        if applies(case, render, turn.state["vars"], turn.flow.language):
            turn.mark(node.id, f"case:{case.id}")
            return case.exit
    turn.mark(node.id, "otherwise")
    return node.otherwise


def _set_variable(turn: _Turn, node: SetVariable) -> str | None:
    turn.state["vars"][node.variable] = clean(turn.fill(node.id, node.value).strip())
    turn.mark(node.id, "set")
    return node.next


def _filled(turn: _Turn, node_id: str, templates: tuple[tuple[str, Template], ...]) -> dict[str, str]:
    return {name: clean(turn.fill(node_id, template).strip()) for name, template in templates}


def _capture_lead(turn: _Turn, node: LeadCapture) -> str | None:
    fields = {name: value for name, value in _filled(turn, node.id, node.fields).items() if value}
    turn.mark(node.id, "lead_captured")
    turn.effects.append(CaptureLead(fields=fields, key=_key(turn, node.id)))
    return node.next


def _request_email(turn: _Turn, node: EmailRequest) -> str | None:
    to = clean(turn.fill(node.id, node.to).strip())
    if not to:
        turn.mark(node.id, "no_address")
        return node.next
    turn.mark(node.id, "email_requested")
    variables = _filled(turn, node.id, node.variables)
    turn.effects.append(
        RequestEmail(template=node.template, to=to, variables=variables, key=_key(turn, node.id))
    )
    return node.next


def _key(turn: _Turn, node_id: str) -> str:
    return f"{turn.state['turn']}:{node_id}"


def _hand_over(turn: _Turn, node: Human) -> str | None:
    turn.mark(node.id, "handed_over")
    turn.effects.append(HandOver(note=clean(turn.fill(node.id, node.note).strip())))
    turn.state["status"] = "handed_over"
    turn.state["node"] = None
    turn.over = True
    return node.id


def _go_to(turn: _Turn, node: GoTo) -> str | None:
    turn.mark(node.id, "jumped")
    return node.target


def _end(turn: _Turn, node: End) -> str | None:
    turn.mark(node.id, "ended")
    return None


VISITS: Final[dict[type, Callable[[_Turn, Any], str | None]]] = {
    SendText: _send_text,
    Ask: _ask,
    Branch: _branch,
    SetVariable: _set_variable,
    LeadCapture: _capture_lead,
    EmailRequest: _request_email,
    Human: _hand_over,
    GoTo: _go_to,
    End: _end,
}
