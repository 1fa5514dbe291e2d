"""A message is one worker's at a time: who comes back late leaves alone what others have by then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import update

from app.email import commands, jobs
from app.email.commands.claiming import CLAIM_ROUNDS, Claimed
from app.email.jobs.sending import Batch, Route
from app.email.mime import Letter
from app.email.models import Message
from app.email.providers import Result
from app.kit import db
from app.kit.errors import Permanent, Temporary
from tests.email.test_delivery import fresh
from tests.fakes.smtp_server import SmtpScript

Queue = Callable[..., Message]
Drain = Callable[[], None]


def claim() -> list[Claimed]:
    with db.transaction():
        return commands.claim_due(100)


def take_over() -> set[str]:
    """Be another worker that finds the leases over and hands the untouched messages to a provider; their refs."""
    with db.transaction() as session:
        session.execute(
            update(Message)
            .where(Message.handing_over_at.is_(None))
            .values(claimed_until=db.utcnow() - timedelta(seconds=1))
        )
    with db.transaction():
        commands.take_back()
    claimed = claim()
    with db.transaction():
        return set(commands.note_handing_over(claimed, provider="outbox"))


class Stopped(BaseException):
    """What stops a worker in the middle."""


class Stalling:
    """A provider at which something happens while it has the first letter; then the worker is stopped."""

    name = "outbox"

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def open(self) -> None: ...

    def close(self) -> None: ...

    def rate(self) -> None: ...

    def send(self, batch: Iterable[Letter], handing_over: Callable[[str], None]) -> Iterator[Result]:
        for letter in batch:
            handing_over(letter.ref)
            self._meanwhile()
            raise Stopped
            yield


def test_a_worker_that_stops_late_gives_back_only_what_is_still_its_own(app: Flask, queue: Queue) -> None:
    messages = [queue(to=f"ann{number}@example.com") for number in range(15)]
    theirs: set[str] = set()
    route = Route("outbox", Stalling(lambda: theirs.update(take_over())), app.config)  # type: ignore[arg-type]

    with pytest.raises(Stopped):
        Batch(claim(), time.monotonic() + 60).send([route])

    assert len(theirs) == 5
    for message in messages:
        stored = fresh(message)
        is_handed_over = (stored.status, stored.handing_over_at is None) == ("sending", False)
        assert is_handed_over == (message.id in theirs)


def test_a_provider_that_fails_late_defers_only_what_is_still_the_workers_own(
    app: Flask, queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    messages = [queue(to=f"ann{number}@example.com") for number in range(15)]
    theirs: set[str] = set()

    def meanwhile() -> None:  # another process, while the first letter is at the server
        with app.app_context():
            theirs.update(take_over())

    mail_server.on_data = meanwhile
    mail_server.data += ["421 4.3.2 shutting down"] * 3
    drain()

    assert len(theirs) == 5
    assert {message.id for message in messages if fresh(message).status == "sending"} == theirs


def test_a_late_refusal_says_nothing_about_a_message_that_another_worker_is_sending(queue: Queue) -> None:
    message = queue()
    (mine,) = claim()
    take_over()

    with db.transaction():
        commands.record(
            [Result(ref=message.id, error=Permanent("no", code="550"))],
            provider="smtp",
            claims={message.id: mine.until},
        )

    assert (fresh(message).status, fresh(message).error_code) == ("sending", None)


def test_a_late_acceptance_counts_whoever_has_the_message(queue: Queue) -> None:
    message = queue()
    (mine,) = claim()
    take_over()

    with db.transaction():
        commands.record([Result(ref=message.id)], provider="smtp", claims={message.id: mine.until})

    assert fresh(message).status == "sent"


def test_a_late_answer_settles_a_message_of_which_nobody_knew(queue: Queue) -> None:
    message = queue()
    claimed = claim()
    with db.transaction():
        claims = commands.note_handing_over(claimed, provider="smtp")
    with db.transaction() as session:
        session.execute(update(Message).values(claimed_until=db.utcnow() - timedelta(seconds=1)))
    with db.transaction():
        commands.take_back()
    assert fresh(message).status == "unknown"

    with db.transaction():
        commands.record(
            [Result(ref=message.id, error=Temporary("later", code="451"))], provider="smtp", claims=claims
        )

    assert fresh(message).status == "deferred"


LEAD = "0198f000-0000-7000-8000-00000000aaaa"


def stop_lead() -> None:
    with db.transaction():
        commands.stop_lead(LEAD)


def test_a_claimed_mail_to_a_deleted_lead_is_not_handed_over(queue: Queue) -> None:
    message = queue(lead_id=LEAD)
    claimed = claim()
    stop_lead()

    with db.transaction():
        assert commands.note_handing_over(claimed, provider="smtp") == {}
    with db.transaction():
        claims = {one.letter.ref: one.until for one in claimed}
        commands.release([(message.id, Temporary("away"))], provider="smtp", claims=claims)

    assert (fresh(message).status, fresh(message).next_attempt_at) == ("cancelled", None)


def test_a_mail_to_a_deleted_lead_that_a_provider_refuses_for_now_is_not_tried_again(
    app: Flask, queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    message = queue(lead_id=LEAD)

    def meanwhile() -> None:  # another process, while the letter is at the server
        with app.app_context():
            stop_lead()

    mail_server.on_data = meanwhile
    mail_server.data.append("451 4.3.0 come back later")
    drain()

    assert (fresh(message).status, fresh(message).next_attempt_at) == ("failed", None)


def test_a_marked_mail_to_a_deleted_lead_that_was_not_begun_is_stopped(app: Flask, queue: Queue) -> None:
    messages = [queue(lead_id=LEAD, to=f"ann{number}@example.com") for number in range(5)]
    route = Route("outbox", Stalling(stop_lead), app.config)  # type: ignore[arg-type]

    with pytest.raises(Stopped):
        Batch(claim(), time.monotonic() + 60).send([route])

    statuses = [fresh(message).status for message in messages]
    assert sorted(statuses) == ["cancelled"] * 4 + ["unknown"]
    assert not jobs.has_due()


def test_many_mails_that_are_held_back_are_settled_in_several_transactions(
    queue: Queue, drain: Drain
) -> None:
    with db.transaction():
        commands.add_suppression({"address": "ann@example.com"})
    messages = [queue() for _ in range(CLAIM_ROUNDS + 2)]

    with db.transaction():
        assert commands.claim_due(1) == []
    assert [fresh(message).status for message in messages].count("suppressed") == CLAIM_ROUNDS

    drain()
    assert {fresh(message).status for message in messages} == {"suppressed"}
