"""PostgreSQL crashes while people talk: nothing is lost, nothing happens twice, and nobody restarts anything of ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.meta_server import MetaServer
from tests.fakes.postgresql import PostgreSQL
from tests.fakes.smtp_server import smtp_server
from tests.fakes.twilio_server import TwilioServer
from tests.journeys.crowd import talk_while_it_crashes
from tests.journeys.installation import Installation, installation
from tests.journeys.talk import FLOW

pytestmark = [pytest.mark.slow, pytest.mark.postgresql, pytest.mark.timeout(400)]


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


def test_a_database_that_crashes_while_people_talk_loses_and_doubles_nothing(
    made: Installation, database: PostgreSQL
) -> None:
    def crash() -> None:
        database.kill()
        database.start()

    talk_while_it_crashes(made, crash)
