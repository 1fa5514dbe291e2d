"""Whatever a request leads to, in whichever process, is found in the logs under its id."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fakes.customer import Customer
from tests.journeys.installation import Installation
from tests.journeys.talk import NAME, WISH, Person
from tests.ops.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SAID = {
    "request",  # the web has answered the provider
    "message handled",  # the flow has gone on
    "message accepted",  # the provider has the reply
    "message state told",  # the provider's callback about it
    "email queued",  # the lead that the flow captured is welcomed
    "email accepted",
    "endpoint called",  # a customer's webhook hears of the lead
    "lead written to airtable",
}


@pytest.fixture
def customer() -> Iterator[Customer]:
    with Customer() as made:
        yield made


def lines(made: Installation, request_id: str) -> list[dict[str, Any]]:
    """What any process logged under this id."""
    every = (line for text in made.logs().values() for line in text.splitlines() if request_id in line)
    return [line for line in map(json.loads, every) if line.get("request_id") == request_id]


@pytest.mark.parametrize("provider", ["meta", "twilio"])
def test_one_id_joins_a_webhook_with_all_that_it_leads_to(
    made: Installation, person: Callable[..., Person], customer: Customer, provider: str
) -> None:
    hook = made.api("webhooks", "/webhooks", {"url": customer.url, "events": ["lead.created"]})
    customer.secret = hook["secret"]
    somebody = person(provider)
    for count, text in ((2, "azulejos"), (3, NAME), (4, "1"), (5, somebody.email), (6, "7")):
        somebody.say(text)
        somebody.await_replies(count)
    made.end_airtable_turn()  # a worker that another journey killed may have had it
    mine = f"journey-{provider}-{somebody.number}"
    body, headers = somebody.webhook(WISH)
    assert somebody.post((body, {**headers, "X-Request-Id": mine})).status == 200
    somebody.await_replies(7)
    somebody.tell_status(somebody.taken[-1], "delivered")
    somebody.await_mail()
    found: set[str] = set()

    def all_said() -> bool:
        found.update(line["event"] for line in lines(made, mine))
        return found >= SAID

    wait_for(all_said, lambda: f"lines about {mine}: {SAID - found}")
    made.settle()
    assert all(line.get("service") and line.get("timestamp") for line in lines(made, mine))
    assert somebody.calls()[-1].headers["x-request-id"] == mine, "the provider is told, too"
    others = [line for line in lines(made, mine) if line["event"] == "message handled"]
    assert len(others) == 1, "and nothing else is under it"
    made.api("webhooks", f"/webhooks/{hook['id']}", method="DELETE")
