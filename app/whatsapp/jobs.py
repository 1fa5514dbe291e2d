"""The work behind the doors: understand webhooks and handle messages, call providers, fire timers.

Every job drains what is due in the database and may run any number of times at once: rows are locked or claimed,
never remembered here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from flask import Flask, current_app

from app.kit.db import db, transaction, utcnow
from app.kit.errors import ProviderError, Unknown
from app.kit.jobs import Job, ring
from app.kit.resilience import breaker
from app.kit.telemetry import PROVIDER_CALLS, PROVIDER_SECONDS, get_logger
from app.whatsapp.commands import intake, sending, talk
from app.whatsapp.providers import SENDERS, Accepted
from app.whatsapp.queries import inbound
from app.whatsapp.queries import sending as sending_queries

DRAIN_SECONDS = 60.0
"""A job stops draining after this long and rings again, so that it ends before RQ would stop it."""

CALLS_AT_ONCE = 8
"""Provider calls in flight per process; each belongs to another contact."""

LOOK_AGAIN_SECONDS = 0.1
"""While calls are in flight, how often to look for contacts that became due meanwhile."""

TIMERS_AT_ONCE = 100

log = get_logger("whatsapp")


def process_webhooks() -> None:
    """Take webhooks in, then handle each contact's messages in order; until nothing is due."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        with transaction():
            taken = intake.take_in()
        if not _handle_waiting(deadline) and not taken:
            return
    ring("whatsapp.process_webhooks")


def _handle_waiting(deadline: float) -> bool:
    """Handle one batch of contacts; whether anything was handled."""
    handled = False
    for contact_id in inbound.contacts_waiting(utcnow(), intake.BATCH):
        while time.monotonic() < deadline and _one(
            partial(talk.handle_next, contact_id),
            partial(talk.note_failure, contact_id),
            "message failed",
            contact_id=contact_id,
        ):
            handled = True
    return handled


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
    deadline = time.monotonic() + DRAIN_SECONDS
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    calls: dict[Future[Accepted | ProviderError], sending.Errand] = {}
    with ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="send") as pool:
        while True:
            db.session.expunge_all()
            if len(calls) < CALLS_AT_ONCE and time.monotonic() < deadline:
                with transaction():
                    errands = sending.hand_over(CALLS_AT_ONCE - len(calls))
                for errand in errands:
                    calls[pool.submit(_call, app, errand)] = errand
            if not calls:
                break
            done, _ = wait(calls, timeout=LOOK_AGAIN_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                with transaction():
                    sending.record(calls.pop(future), future.result())
    if sending_due():
        ring("whatsapp.send_messages")


def _call(app: Flask, errand: sending.Errand) -> Accepted | ProviderError:
    """Ask the provider, with no transaction open. Whatever goes wrong here may have been delivered."""
    sender = SENDERS[errand.provider]
    if errand.provider == "simulator":
        return sender.send(errand.outgoing, errand.credentials)
    outcome = "accepted"
    started = time.perf_counter()
    with app.app_context():
        try:
            with breaker(f"whatsapp:{errand.channel_id}"):
                return sender.send(errand.outgoing, errand.credentials)
        except ProviderError as error:
            outcome = type(error).__name__.lower()
            log.warning(
                "message not accepted", message_id=errand.message_id, outcome=outcome, code=error.code
            )
            return error
        except Exception as error:
            outcome = "bug"
            log.exception("sender failed", message_id=errand.message_id, provider=errand.provider)
            return Unknown(f"The adapter failed ({type(error).__name__}).")
        finally:
            PROVIDER_CALLS.labels(provider=errand.provider, outcome=outcome).inc()
            PROVIDER_SECONDS.labels(provider=errand.provider).observe(time.perf_counter() - started)


def sending_due() -> bool:
    """Whether send_messages has work."""
    return sending_queries.any_due(utcnow())


def fire_timers() -> None:
    """Fire what nobody answered in time, end what nobody answered at all."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        timers = talk.due_timers(utcnow(), TIMERS_AT_ONCE)
        expiries = talk.due_expiries(utcnow(), TIMERS_AT_ONCE)
        for timer_id in timers:
            _one(
                partial(talk.fire_timer, timer_id),
                partial(talk.drop_timer, timer_id),
                "timer failed",
                timer_id=timer_id,
            )
        for conversation_id in expiries:
            with transaction():
                talk.expire(conversation_id)
        if not timers and not expiries:
            return
    ring("whatsapp.fire_timers")


def timers_due() -> bool:
    """Whether fire_timers has work."""
    now = utcnow()
    return bool(talk.due_timers(now, 1) or talk.due_expiries(now, 1))


def forget_webhooks() -> None:
    """Delete raw webhooks that no provider repeats any more."""
    with transaction():
        intake.purge(utcnow())


def webhooks_to_forget() -> bool:
    """Whether forget_webhooks has work."""
    return inbound.any_older_than(utcnow() - intake.KEEP)


JOBS = (
    Job(name="whatsapp.process_webhooks", queue="whatsapp", run=process_webhooks, due=webhooks_due),
    Job(name="whatsapp.send_messages", queue="whatsapp", run=send_messages, due=sending_due),
    Job(name="whatsapp.fire_timers", queue="whatsapp", run=fire_timers, due=timers_due),
    Job(name="whatsapp.forget_webhooks", queue="whatsapp", run=forget_webhooks, due=webhooks_to_forget),
)
