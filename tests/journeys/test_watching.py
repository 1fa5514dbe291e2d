"""Prometheus and Alertmanager, on the very files that are shipped, watch a real installation.

A process is killed: somebody is told within 30 seconds. And no panel of a dashboard is empty after a conversation.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import postgresql_url
from tests.fakes.meta_server import MetaServer
from tests.fakes.ports import free_port
from tests.fakes.prometheus import DEPLOY, Pager, Watch
from tests.fakes.smtp_server import smtp_server
from tests.fakes.twilio_server import TwilioServer
from tests.journeys.installation import Installation, installation
from tests.journeys.talk import FLOW, Person
from tests.ops.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.prometheus, pytest.mark.timeout(400)]

PROMISED_SECONDS = 30.0
"""From the death of a process to the message."""

RESOLVED_SECONDS = 90.0
"""Scrape, evaluation and group_interval, and time for the process to start on a busy machine."""

TOKEN = "a-token-of-the-tests-for-prometheus"

METRIC = re.compile(r"\b(?:embudo_\w+|up)\b")


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Installation, Watch]]:
    """One installation that serves all, and those who watch it."""
    folder = tmp_path_factory.mktemp("watched")
    with (
        MetaServer() as meta,
        TwilioServer() as twilio,
        smtp_server() as mail,
        installation(
            "monolith",
            folder,
            postgresql=postgresql_url(request.config),
            meta=meta,
            twilio=twilio,
            mail=mail,
            METRICS_TOKEN=TOKEN,
        ) as running,
        Pager() as pager,
    ):
        group = running.groups["monolith"]
        targets = {"web": [(f"127.0.0.1:{group.port}", "all")]}
        for part in ("worker", "relay"):
            group.programs[part].stop()
            port = free_port()
            group.programs[part].env["METRICS_PORT"] = str(port)
            group.programs[part].start()
            targets[part] = [(f"127.0.0.1:{port}", "all")]
        flow = running.api("whatsapp", "/flows", {"name": "Azulejos", "document": FLOW})
        running.api("whatsapp", f"/flows/{flow['id']}/publish", {}, method="POST")
        watched = tmp_path_factory.mktemp("watch")
        with Watch(watched, targets=targets, token=TOKEN, pager=pager) as watch:
            wait_for(lambda: len(watch.ask("up == 1")) == 3, "all three are scraped")
            yield running, watch


def within(seconds: float, what: Callable[[], Any], description: str) -> Any:
    """The first true result of `what`, which must come in this time."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {description}"
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("part", ["web", "worker", "relay"])
def test_somebody_is_told_within_the_promised_time_that_a_process_was_killed_and_when_it_is_back(
    made: tuple[Installation, Watch], part: str
) -> None:
    running, watch = made
    running.start()
    wait_for(lambda: len(watch.ask("up == 1")) == 3, "all three are scraped")
    labels = {"alertname": "ServiceInactive", "job": part, "service": "all", "severity": "page"}
    before = {status: len(watch.pager.about(status, **labels)) for status in ("firing", "resolved")}
    running.groups["monolith"].programs[part].kill()
    told = within(
        PROMISED_SECONDS, lambda: watch.pager.about("firing", **labels)[before["firing"] :], f"{part} is dead"
    )
    path, alert, _ = told[0]
    assert path == "/page"
    assert alert["annotations"]["runbook"] == "docs/runbook.md#serviceinactive"
    assert alert["labels"]["installation"] == "embudo"
    running.start()
    within(
        RESOLVED_SECONDS,
        lambda: watch.pager.about("resolved", **labels)[before["resolved"] :],
        f"{part} is back",
    )
    # It comes again each minute, so that its absence says something.
    alive = within(
        RESOLVED_SECONDS, lambda: watch.pager.about("firing", alertname="DeadMansSwitch"), "the heartbeat"
    )
    assert alive[0][0] == "/heartbeat"


@pytest.mark.parametrize(
    ("cause", "consequences", "others"),
    [
        (
            {"alertname": "ServiceInactive", "job": "worker", "service": "leads"},
            ["QueueWithoutWorkers", "QueueStalled"],
            ["DeadLettersWaiting", "ServerErrors"],
        ),
        ({"alertname": "ServiceInactive", "job": "web", "service": "leads"}, [], ["QueueWithoutWorkers"]),
        ({"alertname": "ServiceInactive", "job": "worker", "service": "email"}, [], ["QueueWithoutWorkers"]),
        (
            {"alertname": "ServiceInactive", "job": "relay", "service": "all"},
            ["RelaySilent", "OutboxOld"],
            [],
        ),
        ({"alertname": "RedisDown", "service": "all"}, ["QueueStalled", "RelaySilent"], ["DatabaseDown"]),
        ({"alertname": "DatabaseDown", "service": "leads"}, ["ServerErrors", "OutboxOld"], ["RedisDown"]),
    ],
)
def test_who_hears_of_a_cause_does_not_hear_of_what_follows_from_it(
    made: tuple[Installation, Watch], cause: dict[str, str], consequences: list[str], others: list[str]
) -> None:
    _, watch = made
    elsewhere = "-".join(["elsewhere", *cause.values()])
    sent = [cause, *({"alertname": name, "service": "leads"} for name in [*consequences, *others])]
    watch.send(*({**labels, "installation": elsewhere, "severity": "page"} for labels in sent))
    wanted = dict.fromkeys([cause["alertname"], *others], "active") | dict.fromkeys(
        consequences, "suppressed"
    )
    wait_for(lambda: watch.states(elsewhere) == wanted, lambda: f"{wanted}; it is {watch.states(elsewhere)}")


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every panel of every dashboard, with the dashboard's file."""
    for file in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            if panel.get("targets"):
                yield file.name, panel


def expression(query: str) -> str:
    """A query with Grafana's variables filled in as the dashboard does at first."""
    for name, value in (("$__rate_interval", "1m"), ("$service", ".*"), ("$__range", "1m")):
        query = query.replace(name, value)
    return query


def test_after_a_conversation_no_panel_is_empty_and_every_rule_can_be_evaluated(
    made: tuple[Installation, Watch],
) -> None:
    running, watch = made
    running.start()
    hook = {"url": f"{watch.pager.url}/hook", "events": ["lead.*"]}
    running.api("webhooks", "/webhooks", hook)
    somebody = Person(running, "meta")
    for count, turn in zip((2, 3, 4, 5, 6, 7, 8, 9), somebody.turns(), strict=True):
        assert turn().status == 200
        somebody.await_replies(count)
    somebody.await_mail()
    running.settle()
    assert somebody.leads()

    queries = [
        (f"{file}: {panel['title']}", expression(target["expr"]))
        for file, panel in panels()
        if panel.get("datasource", {}).get("uid") != "loki"
        for target in panel["targets"]
    ]
    assert len(queries) > 30
    empty: list[str] = []

    def all_full() -> bool:
        empty[:] = [f"{title}: {query}" for title, query in queries if not watch.ask(query)]
        return not empty

    try:
        wait_for(all_full, "every panel shows something")
    except AssertionError:
        raise AssertionError("\n".join(["empty panels:", *empty])) from None

    names = watch.metric_names()
    rules = watch.rules()
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    used = {name for rule in rules for name in METRIC.findall(rule["query"])}
    used |= {name for _, query in queries for name in METRIC.findall(query)}
    # Not here: the broker is told of where there is one.
    assert sorted(used - names - {"embudo_broker_up"}) == []
