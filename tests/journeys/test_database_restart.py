"""PostgreSQL crashes while people talk: nothing is lost, nothing happens twice, and nobody restarts anything of ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from urllib.error import URLError

import pytest

from tests.fakes.meta_server import MetaServer
from tests.fakes.postgresql import PostgreSQL
from tests.fakes.smtp_server import smtp_server
from tests.fakes.twilio_server import TwilioServer
from tests.journeys.installation import Installation, installation
from tests.journeys.talk import FLOW, NAME, REPLIES, WISH, Person
from tests.ops.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.postgresql, pytest.mark.timeout(400)]

PEOPLE = 6
TURNS = ("azulejos", NAME, "1", "", "7", WISH)
"""A talk without detours; the empty text is the person's address."""

HEARD = [*REPLIES[:4], *REPLIES[6:]]
REPLIES_AFTER = (2, 3, 4, 5, 6, 7)


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    """The server that crashes."""
    made = PostgreSQL()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module", params=["monolith", "services"])
def made(
    database: PostgreSQL, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Installation]:
    """An installation on it; the flow is published."""
    with (
        MetaServer() as meta,
        TwilioServer() as twilio,
        smtp_server() as mail,
        installation(
            request.param, tmp_path_factory.mktemp(request.param), postgresql=database.url, meta=meta, twilio=twilio,
            mail=mail,
        ) as running,
    ):  # fmt: skip
        flow = running.api("whatsapp", "/flows", {"name": "Azulejos", "document": FLOW})
        running.api("whatsapp", f"/flows/{flow['id']}/publish", {}, method="POST")
        yield running


def deliver(somebody: Person, text: str) -> None:
    """As a provider does: the same webhook again until it is acknowledged."""
    hook = somebody.webhook(text)

    def acknowledged() -> bool:
        with suppress(URLError, HTTPException, ConnectionError):
            return somebody.post(hook).status == 200
        return False

    wait_for(acknowledged, f"the webhook of {somebody.phone} is taken")


def talk(somebody: Person) -> None:
    """All of it, each turn when the one before was answered."""
    for text, replies in zip(TURNS, REPLIES_AFTER, strict=True):
        deliver(somebody, text or somebody.email)
        somebody.await_replies(replies)


def test_a_database_that_crashes_while_people_talk_loses_and_doubles_nothing(
    made: Installation, database: PostgreSQL
) -> None:
    people = [Person(made, provider) for provider in ("meta", "twilio") * (PEOPLE // 2)]
    processes = {
        name: {part: program.pid for part, program in group.programs.items()}
        for name, group in made.groups.items()
    }
    threads = [threading.Thread(target=talk, args=(somebody,)) for somebody in people]
    for thread in threads:
        thread.start()
    for replies in (9, 21):  # in the middle of the talks, twice
        wait_for(lambda enough=replies: sum(len(one.taken) for one in people) >= enough, "people are talking")  # type: ignore[misc]
        database.kill()
        database.start()
    for thread in threads:
        thread.join()
    for somebody in people:
        somebody.await_mail()
    made.settle()
    for somebody in people:
        assert sorted(somebody.heard) == sorted(HEARD)
        assert [lead["notes"] for lead in somebody.leads()] == [WISH]
        assert len(somebody.mails()) == 1
        assert somebody.run()["status"] == "completed"
    assert processes == {
        name: {part: program.pid for part, program in group.programs.items()}
        for name, group in made.groups.items()
    }, "every process has found its database again by itself"
