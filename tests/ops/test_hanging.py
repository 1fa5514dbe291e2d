"""Servers that hang: they take connections and never answer, which no refusal ends. Whoever watches hears of it in time.

Nothing is timed here: the limits are those of whoever asks (Prometheus, the kubelet, the gateway), as deployed.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from app import create_app
from app.kit import db
from app.kit.cli import doctor_
from app.kit.redis_client import RedisError, connect
from config import Config
from tests.admin.pages import words
from tests.conftest import Databases, log_in
from tests.fakes.silent import Silent
from tests.fakes.site import serve
from tests.journeys.processes import ROOT

TOKEN = "a-token-of-the-tests"
SCRAPE = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["global"][
    "scrape_timeout"
]
(READY,) = re.findall(
    r"/readyz, port: http\}\n\s+periodSeconds: \d+\n\s+timeoutSeconds: (\d+)",
    (ROOT / "deploy" / "kubernetes" / "group" / "web.yaml").read_text(),
)
PROMETHEUS_SECONDS, KUBELET_SECONDS, PERSON_SECONDS = float(SCRAPE.removesuffix("s")), float(READY), 10.0
"""How long each waits for an answer; a person longer than is polite."""


@dataclass
class Watched:
    """An app whose servers hang, on a socket."""

    app: Flask
    url: str

    def get(self, path: str, seconds: float, **headers: str) -> tuple[int, str]:
        """Status and text; raises TimeoutError when there is no answer in time."""
        request = urllib.request.Request(self.url + path, headers=headers)  # noqa: S310  # our own web
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310  # the same
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def scrape(self) -> dict[str, dict[str, float]]:
        """What Prometheus reads: name of a gauge → its values by the first label."""
        self.app.extensions["embudo_metrics"].forget()
        status, text = self.get("/metrics", PROMETHEUS_SECONDS, Authorization=f"Bearer {TOKEN}")
        assert status == 200
        return {
            family.name: {next(iter(sample.labels.values()), ""): sample.value for sample in family.samples}
            for family in text_string_to_metric_families(text)
        }

    def ready(self) -> tuple[int, dict[str, str]]:
        """What the kubelet reads."""
        self.app.extensions.pop("embudo_ready", None)
        status, text = self.get("/readyz", KUBELET_SECONDS)
        return status, json.loads(text)["parts"]


Watch = Callable[..., Watched]


@pytest.fixture
def watch(config: Config, databases: Databases, app: Flask) -> Iterator[Watch]:
    """Make an app with other addresses: ``watch(databases={…}, redis_url=…)``; the databases are set up."""
    with ExitStack() as stack:

        def make(**changes: Any) -> Watched:
            urls = databases.urls() | changes.pop("databases", {})
            made = create_app(replace(config, metrics_token=TOKEN, databases=urls, **changes), role="web")
            site = stack.enter_context(serve(made))
            stack.callback(db.dispose_engines, made)
            return Watched(made, site.url)

        yield make


@pytest.fixture
def silent() -> Iterator[Silent]:
    with Silent() as server:
        yield server


def postgresql(server: Silent) -> str:
    return f"postgresql+psycopg://embudo:secret@127.0.0.1:{server.port}/embudo"


def redis_at(server: Silent) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


def everything(server: Silent) -> dict[str, Any]:
    """Configuration in which every server is that one."""
    return {
        "databases": dict.fromkeys(
            ("platform", "whatsapp", "leads", "email", "webhooks"), postgresql(server)
        ),
        "redis_url": redis_at(server),
        "events_broker_url": f"amqp://embudo:secret@127.0.0.1:{server.port}//",
    }


# --- Prometheus --------------------------------------------------------------------------------------------------------


def test_whatever_hangs_prometheus_is_told_in_time_that_it_is_down(watch: Watch, silent: Silent) -> None:
    watched, before = watch(**everything(silent)), set(threading.enumerate())
    for _ in range(3):
        found = watched.scrape()
        assert set(found["embudo_database_up"].values()) == {0} and len(found["embudo_database_up"]) == 5
        assert found["embudo_redis_up"] == {"": 0}
        assert found["embudo_broker_up"] == {"": 0}
        assert found["embudo_metrics_scrape_errors"][""] > 0
        assert list(found["embudo_build_info"].values()) == [1], "what reads nothing is told"
    new = [
        thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("lane ")
    ]
    assert len(new) <= 3, "one for each server, however often it is asked"


def test_a_service_whose_database_hangs_tells_of_all_the_others(watch: Watch, silent: Silent) -> None:
    found = watch(databases={"leads": postgresql(silent)}).scrape()
    assert found["embudo_database_up"] == {
        "platform": 1,
        "whatsapp": 1,
        "leads": 0,
        "email": 1,
        "webhooks": 1,
    }
    assert (found["embudo_redis_up"], found["embudo_outbox_pending"].get("email")) == ({"": 1}, 0)
    assert "leads" not in found["embudo_outbox_pending"]


@pytest.mark.parametrize("hanging", ["redis", "broker"])
def test_redis_or_rabbitmq_that_hangs_hides_no_database(watch: Watch, silent: Silent, hanging: str) -> None:
    address = {"redis": "redis_url", "broker": "events_broker_url"}[hanging]
    found = watch(**{address: everything(silent)[address]}).scrape()
    assert found[f"embudo_{hanging}_up"] == {"": 0}
    assert set(found["embudo_database_up"].values()) == {1}
    assert found["embudo_outbox_pending"]["leads"] == 0
    assert ("leads" in found["embudo_queue_depth"]) is (hanging == "broker")


def test_redis_that_begins_to_hang_and_comes_back_is_told_each_time(watch: Watch, config: Config) -> None:
    parts = urlsplit(str(config.redis_url))
    with Silent(parts.path) as wire:
        watched = watch(redis_url=redis_at(wire))
        assert watched.scrape()["embudo_redis_up"] == {"": 1}
        wire.hold()
        assert watched.scrape()["embudo_redis_up"] == {"": 0}
        wire.let_go()
        _until(lambda: watched.scrape()["embudo_redis_up"] == {"": 1})


@pytest.mark.postgresql
def test_a_database_that_begins_to_hang_and_comes_back_is_told_each_time(
    watch: Watch, databases: Databases
) -> None:
    real = urlsplit(databases.urls()["leads"])
    with Silent((real.hostname or "127.0.0.1", real.port or 5432)) as wire:
        held = real._replace(netloc=f"{real.username or 'postgres'}@127.0.0.1:{wire.port}").geturl()
        watched = watch(databases={"leads": held})
        assert watched.scrape()["embudo_database_up"]["leads"] == 1
        wire.hold()
        for _ in range(2):  # connections that are open hang as well as new ones
            found = watched.scrape()["embudo_database_up"]
            assert (found["leads"], found["platform"]) == (0, 1)
        wire.let_go()
        _until(lambda: watched.scrape()["embudo_database_up"]["leads"] == 1)


def _until(what: Callable[[], bool]) -> None:
    """Ask again until it is so; who was silent is left alone for some seconds."""
    from tests.ops.waiting import wait_for

    wait_for(what, "it is back")


# --- the kubelet -------------------------------------------------------------------------------------------------------


def test_readiness_is_refused_in_time_and_names_what_hangs(watch: Watch, silent: Silent) -> None:
    status, parts = watch(**everything(silent)).ready()
    assert status == 503
    assert set(parts.values()) == {"does not answer", "does not answer; work waits in the database"}


def test_without_redis_a_process_is_ready_also_when_it_hangs(watch: Watch, silent: Silent) -> None:
    status, parts = watch(redis_url=redis_at(silent)).ready()
    assert status == 200
    assert parts["redis"].startswith("does not answer") and parts["database leads"] == "ok"


# --- people ------------------------------------------------------------------------------------------------------------


def cookie(app: Flask) -> str:
    """Of the administrator, logged in by the form."""
    name = app.config["SESSION_COOKIE_NAME"]
    found = log_in(app.test_client(), "admin").get_cookie(name)
    assert found is not None
    return f"{name}={found.value}"


def test_the_status_page_says_what_hangs_while_somebody_looks(
    watch: Watch, app: Flask, silent: Silent
) -> None:
    hanging = everything(silent)
    hanging["databases"] = {"leads": postgresql(silent)}
    watched = watch(**hanging)
    for path in ("/admin/status/", "/admin/status/live"):
        status, page = watched.get(path, PERSON_SECONDS, Cookie=cookie(app), **{"Accept-Language": "en"})
        said = words(page)
        assert status == 200
        for line in (
            "broken Database leads Does not answer. Is the server running",
            "fine Database email Answers.",
            "broken Redis Does not answer; work waits in the database. Start Redis",
            "broken Message broker Does not answer; events wait in the database. Start RabbitMQ",
            "broken Airtable Cannot say now.",
            "broken E-mail Cannot say now.",
        ):
            assert line in said, line


def test_when_nobody_can_be_recognised_the_page_says_that_a_part_does_not_answer(
    watch: Watch, app: Flask, silent: Silent
) -> None:
    status, page = watch(**everything(silent)).get(
        "/admin/status/", PERSON_SECONDS, Cookie=cookie(app), Accept="text/html", **{"Accept-Language": "en"}
    )
    assert status == 503
    assert "A part of the system does not answer. Try again in a few seconds." in words(page)


def test_the_doctor_names_what_hangs_and_what_stands_on_it(watch: Watch, silent: Silent) -> None:
    watched = watch(**everything(silent))
    with watched.app.app_context():
        result = watched.app.test_cli_runner().invoke(doctor_, ["--json", "--offline", "--language", "en"])
    assert result.exit_code == 1, result.output
    found = {item["check"]: item for item in json.loads(result.stdout)["findings"]}
    assert found["database platform whatsapp leads email webhooks"]["what"].startswith(
        "The database does not answer"
    )
    assert found["redis"]["what"].startswith("Redis does not answer")
    assert found["broker"]["what"].startswith("RabbitMQ does not answer")
    assert {found[name]["remedy"] for name in ("relay", "workers")} == {"Mend Redis first."}
    assert {
        found[name]["remedy"] for name in ("outboxes", "administrator", "whatsapp", "email", "webhooks")
    } == {"Mend the database first."}


# --- everybody else ----------------------------------------------------------------------------------------------------


def test_after_a_silence_nobody_waits_for_that_server_again_at_once(watch: Watch, silent: Silent) -> None:
    app = watch(databases={"leads": postgresql(silent)}).app
    with app.app_context():
        for _ in range(5):
            with pytest.raises(OperationalError), db.engine_of("leads").connect():
                pass
    assert silent.accepted == 1
    with Silent() as other:
        client = connect(redis_at(other), reply_seconds=0.2)
        for _ in range(5):
            with pytest.raises(RedisError):
                client.ping()
        client.close()
        assert other.accepted == 1
