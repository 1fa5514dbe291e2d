"""The work behind the doors: understand webhooks and handle messages, call providers, fire timers.

Every job drains what is due in the database and may run any number of times at once: rows are locked or claimed,
never remembered here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from flask import Flask, current_app

from app.kit.db import db, transaction, utcnow
from app.kit.errors import ProviderError, Unknown
from app.kit.jobs import Job, answering, drain_until, is_over, ring
from app.kit.resilience import breaker
from app.kit.telemetry import bound, get_logger, note_call, outcome_of
from app.whatsapp.commands import intake, sending, states, talk
from app.whatsapp.providers import SENDERS, Accepted
from app.whatsapp.queries import inbound
from app.whatsapp.queries import sending as sending_queries

CALLS_AT_ONCE = 16
"""Provider calls in flight per process; each belongs to another contact."""

SEND_AT_ONCE_SECONDS = 5.0
"""So long a worker that handled messages goes on sending before it looks for new ones; another goes on from there."""

GATHER_SECONDS = 0.01
"""How long the first call that ended waits for others, to be recorded by the same statements."""

LOOK_AGAIN_SECONDS = 0.1
"""While calls are in flight, how often to look for contacts that became due meanwhile."""

TIMERS_AT_ONCE = 100

log = get_logger("whatsapp")


def process_webhooks() -> None:
    """Take webhooks in, handle each contact's messages in order, send the replies; until nothing is due."""
    deadline = drain_until()
    while not is_over(deadline):
        db.session.expunge_all()
        with answering(states.SEND_JOB) as bell:
            taken = _take_in()
            waited = _handle_waiting(deadline)
        if bell.rung:
            # Here and now: through relay and queue a reply would take longer than all that it needs.
            _send(min(deadline, time.monotonic() + SEND_AT_ONCE_SECONDS))
        if taken < intake.BATCH and waited < intake.BATCH:
            return  # who came meanwhile has rung
    ring("whatsapp.process_webhooks")


def _take_in() -> int:
    """Take one batch of webhooks in; how many they were."""
    try:
        with transaction():
            return intake.take_in()
    except Exception as error:  # noqa: BLE001 (tried again one by one, where the culprit is logged)
        log.warning("webhooks failed together, now one by one", error=type(error).__name__)
    db.session.expunge_all()
    with transaction():
        return intake.take_in(singly=True)


def _handle_waiting(deadline: float) -> int:
    """Handle one batch of messages; how many waited."""
    found = inbound.waiting(utcnow(), intake.BATCH)
    if not found:
        return 0
    try:
        with transaction():
            talk.handle(set(found), intake.BATCH)
    except Exception as error:  # noqa: BLE001 (as above)
        log.warning("messages failed together, now one by one", error=type(error).__name__)
    else:
        return len(found)
    db.session.expunge_all()
    for contact_id in dict.fromkeys(found):
        while not is_over(deadline) and _one(
            partial(talk.handle, {contact_id}, 1),
            partial(talk.note_failure, contact_id),
            "message failed",
            contact_id=contact_id,
        ):
            pass
    return len(found)


def _one(do: Callable[[], Any], note: Callable[[Exception], None], event: str, **fields: Any) -> bool:
    """One piece of work in its own transaction; a failure is noted in another and never stops the rest."""
    try:
        with transaction():
            return bool(do())
    except Exception as error:
        log.exception(event, **fields)
        db.session.expunge_all()
        with transaction():
            note(error)
        return False


def webhooks_due() -> bool:
    """Whether process_webhooks has work."""
    return inbound.any_due(utcnow())


def send_messages() -> None:
    """Hand over what waits: several contacts at once, each contact's messages one after the other."""
    _send(drain_until())


def _send(deadline: float) -> None:
    """Begin calls until the deadline, the worker's end, or until nothing is due, then wait for those under way."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    calls: dict[Future[Accepted | ProviderError], sending.Errand] = {}
    with ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="send") as pool:
        look, helped = True, False
        while True:
            db.session.expunge_all()
            free = CALLS_AT_ONCE - len(calls)
            full = False
            if look and free and not is_over(deadline):
                with transaction():
                    errands = sending.hand_over(free)
                _begin(pool, app, calls, errands)
                full = len(errands) == free
            if full and not helped:
                helped = True
                ring(states.SEND_JOB)  # there is more than one worker can carry
            if not calls:
                break
            done = _finished(calls)
            look = full or not done
            if done:
                said = [(calls.pop(future), future.result()) for future in done]
                with transaction():
                    errands = sending.record(said, go_on=not is_over(deadline))
                _begin(pool, app, calls, errands)
                look = look or not calls
    if is_over(deadline) and sending_due():
        ring(states.SEND_JOB)


def _begin(
    pool: ThreadPoolExecutor,
    app: Flask,
    calls: dict[Future[Accepted | ProviderError], sending.Errand],
    errands: list[sending.Errand],
) -> None:
    for errand in errands:
        calls[pool.submit(_call, app, errand)] = errand


def _finished(calls: Collection[Future[Accepted | ProviderError]]) -> set[Future[Accepted | ProviderError]]:
    """Calls that have ended: none if all of them take longer than a look, else all that end at about the same time."""
    done, running = wait(calls, timeout=LOOK_AGAIN_SECONDS, return_when=FIRST_COMPLETED)
    if done and running:
        done |= wait(running, timeout=GATHER_SECONDS).done
    return done


def _call(app: Flask, errand: sending.Errand) -> Accepted | ProviderError:
    """Ask the provider, with no transaction open. Whatever goes wrong here may have been delivered."""
    sender = SENDERS[errand.provider]
    if errand.provider == "simulator":
        return sender.send(errand.outgoing, errand.credentials)
    outcome = "ok"
    started = time.perf_counter()
    with app.app_context(), bound(request_id=errand.request_id):
        try:
            with breaker(f"whatsapp:{errand.channel_id}"):
                accepted = sender.send(errand.outgoing, errand.credentials)
            log.info("message accepted", message_id=errand.message_id, provider=errand.provider)
            return accepted
        except ProviderError as error:
            outcome = outcome_of(error)
            log.warning(
                "message not accepted", message_id=errand.message_id, outcome=outcome, code=error.code
            )
            return error
        except Exception as error:
            outcome = "bug"
            log.exception("sender failed", message_id=errand.message_id, provider=errand.provider)
            return Unknown(f"The adapter failed ({type(error).__name__}).")
        finally:
            tried = outcome != "breaker_open"
            note_call(errand.provider, outcome, time.perf_counter() - started if tried else None)


def sending_due() -> bool:
    """Whether send_messages has work."""
    return sending_queries.any_due(utcnow())


def fire_timers() -> None:
    """Fire what nobody answered in time, end what nobody answered at all."""
    deadline = drain_until()
    while not is_over(deadline):
        timers = talk.due_timers(utcnow(), TIMERS_AT_ONCE)
        expiries = talk.due_expiries(utcnow(), TIMERS_AT_ONCE)
        for timer_id in timers:
            _one(
                partial(talk.fire_timer, timer_id),
                partial(talk.note_timer_failure, timer_id),
                "timer failed",
                timer_id=timer_id,
            )
        for conversation_id in expiries:
            _one(
                partial(talk.expire, conversation_id),
                partial(talk.note_expiry_failure, conversation_id),
                "expiry failed",
                conversation_id=conversation_id,
            )
        if not timers and not expiries:
            return
    ring("whatsapp.fire_timers")


def timers_due() -> bool:
    """Whether fire_timers has work."""
    now = utcnow()
    return bool(talk.due_timers(now, 1) or talk.due_expiries(now, 1))


def forget_webhooks() -> None:
    """Delete raw webhooks that no provider repeats any more."""
    deadline = drain_until()
    while not is_over(deadline):
        with transaction():
            more = intake.purge(utcnow())
        if not more:
            return
    ring("whatsapp.forget_webhooks")


def webhooks_to_forget() -> bool:
    """Whether forget_webhooks has work."""
    return inbound.any_older_than(utcnow() - intake.KEEP)


JOBS = (
    Job(name="whatsapp.process_webhooks", queue="whatsapp", run=process_webhooks, due=webhooks_due),
    Job(name="whatsapp.send_messages", queue="whatsapp", run=send_messages, due=sending_due),
    Job(name="whatsapp.fire_timers", queue="whatsapp", run=fire_timers, due=timers_due),
    Job(name="whatsapp.forget_webhooks", queue="whatsapp", run=forget_webhooks, due=webhooks_to_forget),
)
