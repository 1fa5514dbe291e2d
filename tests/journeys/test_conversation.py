"""The product's main job through the real machinery: a signed webhook becomes replies, a lead and a welcome mail."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes import meta_server
from tests.journeys.installation import Answered, Installation
from tests.journeys.talk import NAME, REPLIES, WISH, Person
from tests.ops.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

REPLIES_AFTER = (2, 3, 4, 5, 6, 7, 8, 9)
"""How many replies there are after each of the eight turns."""

PROVIDERS = pytest.mark.parametrize("provider", ["meta", "twilio"])


@PROVIDERS
def test_eight_turns_become_replies_in_order_a_lead_and_a_welcome_mail(
    made: Installation, person: Callable[..., Person], provider: str
) -> None:
    somebody = person(provider)
    for turn, replies in zip(somebody.turns(), REPLIES_AFTER, strict=True):
        assert turn().status == 200
        somebody.await_replies(replies)
    assert somebody.heard == list(REPLIES)

    somebody.await_mail()
    made.settle()
    assert somebody.heard == list(REPLIES)
    (lead,) = somebody.leads()
    assert (lead["name"], lead["email"], lead["notes"]) == (NAME, somebody.email, WISH)
    assert lead["custom"] == {"metros": "25", "interest": "catalogue"}
    (mail,) = somebody.mails()
    assert mail["subject"] == f"Te damos la bienvenida, {NAME}"
    run = somebody.run()
    assert (run["status"], run["answers"]["wish"]) == ("completed", WISH)
    inbound = [item["kind"] for item in run["messages"] if item["direction"] == "in"]
    assert inbound == ["text", "text", "choice", "image", "location", "text", "text", "text"]


@PROVIDERS
def test_a_webhook_that_comes_again_is_acknowledged_and_handled_once(
    made: Installation, person: Callable[..., Person], provider: str
) -> None:
    somebody = person(provider)
    first = somebody.webhook("¿Tenéis azulejos?")
    assert [somebody.post(first).status for _ in range(3)] == [200, 200, 200]
    somebody.await_replies(2)
    assert somebody.post(first).status == 200
    name = somebody.webhook(NAME)
    answers: list[Answered] = []
    threads = [threading.Thread(target=lambda: answers.append(somebody.post(name))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 4
    somebody.await_replies(3)
    made.settle()
    assert somebody.heard == list(REPLIES[:3])
    assert [item["text"] for item in somebody.run()["messages"] if item["direction"] == "in"] == [
        "¿Tenéis azulejos?",
        NAME,
    ]


@PROVIDERS
def test_two_messages_at_once_are_two_turns(
    made: Installation, person: Callable[..., Person], provider: str
) -> None:
    somebody = person(provider)
    for turn, replies in zip(somebody.turns()[:3], REPLIES_AFTER[:3], strict=True):
        turn()
        somebody.await_replies(replies)
    hooks = [somebody.webhook(text) for text in ("un correo no", "eso tampoco")]
    together = threading.Barrier(2)
    answers: list[Answered] = []

    def deliver(hook: tuple[bytes, dict[str, str]]) -> None:
        together.wait()
        answers.append(somebody.post(hook))

    threads = [threading.Thread(target=deliver, args=(hook,)) for hook in hooks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200, 200]
    somebody.await_replies(6)
    made.settle()
    assert somebody.heard == list(REPLIES[:6])


def test_what_comes_one_right_after_the_other_keeps_its_order(
    made: Installation, person: Callable[..., Person]
) -> None:
    somebody = person()
    texts = ["azulejos, por favor", NAME, "1", "no tengo", somebody.email, "7", WISH]
    hooks = [somebody.webhook(text) for text in texts]
    assert [somebody.post(hook).status for hook in hooks] == [200] * len(hooks)
    somebody.await_replies(8)
    somebody.await_mail()
    made.settle()
    assert somebody.heard == [*REPLIES[:4], *REPLIES[5:]]
    assert [item["text"] for item in somebody.run()["messages"] if item["direction"] == "in"] == texts
    assert [lead["notes"] for lead in somebody.leads()] == [WISH]


@PROVIDERS
def test_late_and_disordered_news_of_a_reply_reach_its_status(
    made: Installation, person: Callable[..., Person], provider: str
) -> None:
    somebody = person(provider)
    somebody.say("azulejos")
    somebody.await_replies(2)
    made.settle()
    assert somebody.states() == dict.fromkeys(REPLIES[:2], "sent")
    first, second = somebody.taken
    for message, status in (
        (first, "read"), (first, "sent"), (first, "delivered"), (second, "sent"), (second, "delivered"),
    ):  # fmt: skip
        assert somebody.tell_status(message, status).status == 200
    wait_for(
        lambda: somebody.states() == {REPLIES[0]: "read", REPLIES[1]: "delivered"}, "the states have come"
    )
    told = somebody.run()["messages"]
    assert all(item["delivered_at"] for item in told if item["direction"] == "out")


def test_every_stored_webhook_of_meta_is_acknowledged_twice_and_understood(
    made: Installation, shared: Path
) -> None:
    files = sorted((shared / "data" / "meta-webhooks").glob("*.json"))
    assert files
    for file in files * 2:
        ours = file.read_text().replace(
            '"1234567890"', f'"{meta_server.PHONE_NUMBER_ID}"'
        )  # sent to our number
        body, headers = meta_server.signed_meta(json.loads(ours))
        assert made.request("whatsapp", "/message", body=body, headers=headers).status == 200, file.name
    made.settle()
    dead = "SELECT count(*) FROM whatsapp_webhook WHERE dead_at IS NOT NULL"
    assert made.number("whatsapp", dead) == 0


def test_a_forged_webhook_is_refused_at_every_door(made: Installation, person: Callable[..., Person]) -> None:
    for provider in ("meta", "twilio"):
        body, headers = person(provider).webhook("azulejos")
        name = next(name for name in headers if "Signature" in name)
        forged = {**headers, name: headers[name][:-4] + "AAAA"}
        assert made.request("whatsapp", "/message", body=body, headers=forged).status == 403
        assert made.request("whatsapp", "/message", body=body).status in (403, 415)
