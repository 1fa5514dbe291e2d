"""Several people who talk at once while something crashes, and what must be true of each of them afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from urllib.error import URLError

from tests.journeys.installation import Installation
from tests.journeys.talk import NAME, REPLIES, WISH, Person
from tests.ops.waiting import wait_for

PEOPLE = 6
TURNS = ("azulejos", NAME, "1", "", "7", WISH)
"""A talk without detours; the empty text is the person's address."""

HEARD = [*REPLIES[:4], *REPLIES[6:]]
REPLIES_AFTER = (2, 3, 4, 5, 6, 7)
CRASHES_AFTER = (9, 21)
"""So many replies have been taken when it crashes: in the middle of the talks, twice."""


def talk_while_it_crashes(made: Installation, crash: Callable[[], None]) -> None:
    """Let people talk, have `crash` break something and start it again meanwhile, and look what became of them all."""
    people = [Person(made, provider) for provider in ("meta", "twilio") * (PEOPLE // 2)]
    before = _processes(made)
    threads = [threading.Thread(target=_talk, args=(somebody,)) for somebody in people]
    for thread in threads:
        thread.start()
    for enough in CRASHES_AFTER:
        wait_for(lambda enough=enough: sum(len(one.taken) for one in people) >= enough, "people are talking")  # type: ignore[misc]
        crash()
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
    assert _processes(made) == before, "every process has found it again by itself"


def _talk(somebody: Person) -> None:
    for text, replies in zip(TURNS, REPLIES_AFTER, strict=True):
        _deliver(somebody, text or somebody.email)
        somebody.await_replies(replies)


def _deliver(somebody: Person, text: str) -> None:
    """As a provider does: the same webhook again until it is acknowledged."""
    hook = somebody.webhook(text)

    def acknowledged() -> bool:
        with suppress(URLError, HTTPException, ConnectionError):
            return somebody.post(hook).status == 200
        return False

    wait_for(acknowledged, f"the webhook of {somebody.phone} is taken")


def _processes(made: Installation) -> dict[str, dict[str, int | None]]:
    return {
        name: {part: program.pid for part, program in group.programs.items()}
        for name, group in made.groups.items()
    }
