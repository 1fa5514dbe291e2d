"""Two installations, one after the other: all in one, and a process group per service."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import postgresql_url
from tests.fakes.meta_server import MetaServer
from tests.fakes.smtp_server import smtp_server
from tests.fakes.twilio_server import TwilioServer
from tests.journeys.installation import TOPOLOGIES, Installation, installation
from tests.journeys.talk import FLOW, Person


@pytest.fixture(scope="session", params=TOPOLOGIES)
def topology(request: pytest.FixtureRequest) -> str:
    """Every journey happens in each of these."""
    return str(request.param)


@pytest.fixture(scope="session")
def running(
    topology: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Installation]:
    """The installation, started once; the flow is published."""
    folder = tmp_path_factory.mktemp(topology)
    with (
        MetaServer() as meta,
        TwilioServer() as twilio,
        smtp_server() as mail,
        installation(
            topology, folder, postgresql=postgresql_url(request.config), meta=meta, twilio=twilio, mail=mail
        ) as made,
    ):
        flow = made.api("whatsapp", "/flows", {"name": "Azulejos", "document": FLOW})
        made.api("whatsapp", f"/flows/{flow['id']}/publish", {}, method="POST")
        yield made


@pytest.fixture
def made(running: Installation) -> Iterator[Installation]:
    """The installation, with all of its processes running."""
    running.start()
    yield running
    running.meta.free()
    running.mail.free()


@pytest.fixture
def person(made: Installation) -> Callable[..., Person]:
    """Somebody new: ``person()`` writes through Meta, ``person("twilio")`` through Twilio."""
    return lambda provider="meta": Person(made, provider)
