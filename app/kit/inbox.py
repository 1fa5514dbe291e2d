"""Events arrive, perhaps more than once, and are handled exactly once.

The handler runs in the same transaction as the insert of (event, handler) into the inbox, so a repeat is a no-op.
Letters that come together are handled together, because a commit costs more than most handlers do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import current_app

from app.contracts.events import Event, parse
from app.kit import db, outbox, rows, telemetry

HANDLER_ATTEMPTS = 8
"""After so many failures an event is a dead letter of that listener: shown, replayable, blocking nobody."""

KEY = ("event_id", "handler")

log = telemetry.get_logger("kit")


@dataclass(frozen=True, kw_only=True)
class Received:
    """What the envelope of an event says: its id, the same at every repeat, and when it happened."""

    event_id: str
    at: datetime


_received: ContextVar[Received] = ContextVar("embudo_received")


def received() -> Received:
    """The envelope of the event that is being handled; LookupError outside a handler."""
    return _received.get()


@dataclass(frozen=True, kw_only=True)
class _Errand:
    """A letter that somebody here wants, read."""

    letter: dict[str, Any]
    name: str
    event: Event
    handler: Callable[[Any], None]
    handler_name: str

    @property
    def key(self) -> tuple[str, str]:
        return self.letter["id"], self.handler_name

    def row(self) -> dict[str, Any]:
        """Of the inbox, when it is done."""
        return {
            "event_id": self.letter["id"],
            "handler": self.handler_name,
            "name": self.name,
            "state": "done",
            "attempts": 1,
            "handled_at": db.utcnow(),
        }

    def run(self) -> None:
        """Have the handler do what it does."""
        letter = self.letter
        envelope = Received(event_id=letter["id"], at=datetime.fromisoformat(letter["time"]))
        token = _received.set(envelope)
        try:
            with telemetry.bound(
                request_id=letter.get("requestid"), event_name=self.name, event_id=letter["id"]
            ):
                self.handler(self.event)
        finally:
            _received.reset(token)


def receive_many(service: str, letters: Sequence[dict[str, Any]]) -> None:
    """Handle CloudEvents as `service`, those that can be handled in one transaction."""
    errands: dict[tuple[str, str], _Errand] = {}
    alone: list[dict[str, Any]] = []
    for letter in letters:
        try:
            errand = _read(service, letter)
        except TypeError:
            alone.append(letter)
            continue
        if errand is not None:
            errands.setdefault(errand.key, errand)
    while errands:
        try:
            alone += _run_together(service, errands)
            break
        except _Failed as failed:
            errand = errands.pop(failed.key)
            _note_errand(service, errand, failed.error)
        except Exception as error:  # noqa: BLE001 (tried again one by one, where the culprit is logged)
            log.warning("events failed together, now one by one", error=type(error).__name__)
            alone += [errand.letter for errand in errands.values()]
            break
    for letter in alone:
        receive(service, letter)


class _Failed(Exception):
    """The handler of one among several letters failed."""

    def __init__(self, key: tuple[str, str], error: Exception) -> None:
        super().__init__()
        self.key = key
        self.error = error


def _run_together(service: str, errands: dict[tuple[str, str], _Errand]) -> list[dict[str, Any]]:
    """Have all handlers work in one transaction; gives the letters that have been here before. Raises _Failed."""
    _, inbox = outbox.tables_of(service)
    with db.transaction() as session:
        fresh = rows.insert_many_once(inbox, [errand.row() for errand in errands.values()], KEY)
        for key, errand in errands.items():
            if key in fresh:
                try:
                    errand.run()
                    session.flush()  # what the database refuses is this one's fault, not the next one's
                except Exception as error:
                    raise _Failed(key, error) from error
    return [errand.letter for key, errand in errands.items() if key not in fresh]


def receive(service: str, letter: dict[str, Any]) -> float | None:
    """Handle a CloudEvent as `service`; None when it is settled, else the seconds after which it is tried again.

    One transaction holds the handler's work and the inbox row. When the handler fails, the inbox row keeps the
    letter, so that the sender may forget it in either case; app.kit.dead_letters tries it again.
    A handler with a function `wanted` is asked first: what it does not want is settled without a write.
    """
    _, inbox = outbox.tables_of(service)
    try:
        errand = _read(service, letter)
    except TypeError as error:  # a field is missing: kept, for a release that knows better
        log.warning("event cannot be read", event_name=_name_of(letter), event_id=letter["id"])
        return _note_failure(inbox, f"{service}.parse", letter, error)
    if errand is None:
        return None
    try:
        with db.transaction() as session:
            if not rows.insert_once(inbox, errand.row(), KEY):
                row = session.get(inbox, errand.key, with_for_update=True)
                if row is None or row.state != "failing":
                    return None
                row.state, row.event, row.error, row.handled_at = "done", None, None, db.utcnow()
            errand.run()
    except Exception as error:  # noqa: BLE001 (logged there)
        return _note_errand(service, errand, error)
    return None


def _note_errand(service: str, errand: _Errand, error: Exception) -> float | None:
    _, inbox = outbox.tables_of(service)
    letter = errand.letter
    with telemetry.bound(request_id=letter.get("requestid"), event_name=errand.name, event_id=letter["id"]):
        log.error("event handler failed", handler=errand.handler_name, exc_info=error)
    return _note_failure(inbox, errand.handler_name, letter, error)


def _name_of(letter: dict[str, Any]) -> str:
    name: str = letter["type"].removeprefix("embudo.").rpartition(".v")[0]
    return name


def _read(service: str, letter: dict[str, Any]) -> _Errand | None:
    """The letter's event and who handles it here; None when nobody wants it. Raises TypeError when a field lacks."""
    name = _name_of(letter)
    event = parse(name, letter["data"])
    handlers = current_app.extensions["embudo_handlers"][service]
    handler = handlers.get(type(event)) if event is not None else None
    if event is None or handler is None:
        return None  # a newer producer's event, or one this release no longer listens to
    wanted = getattr(handler, "wanted", None)
    if wanted is not None and not wanted(event):
        return None
    handler_name = f"{service}.{handler.__name__}"
    return _Errand(letter=letter, name=name, event=event, handler=handler, handler_name=handler_name)


def _note_failure(inbox: Any, handler_name: str, letter: dict[str, Any], error: Exception) -> float | None:
    key = {"event_id": letter["id"], "handler": handler_name}
    with db.transaction() as session:
        rows.insert_once(
            inbox,
            {
                **key,
                "name": _name_of(letter),
                "state": "failing",
                "attempts": 0,
                "handled_at": db.utcnow(),
                "event": letter,
            },
            KEY,
        )
        row = session.get(inbox, tuple(key.values()), with_for_update=True)
        row.attempts += 1
        row.error = telemetry.masked(f"{type(error).__name__}: {error}")[:1000]
        row.handled_at = db.utcnow()
        if row.attempts >= HANDLER_ATTEMPTS:
            row.state = "dead"
            return None
        return retry_wait(row.attempts)


def retry_wait(attempts: int) -> float:
    """Seconds between failure number `attempts` and the next try; 0 when there was none."""
    return float(min(600, 2**attempts)) if attempts else 0.0
