"""A worker is killed while it writes leads into Airtable's stand-in: each lead ends up in the table, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import postgresql_url
from tests.fakes.meta_server import MetaServer
from tests.fakes.smtp_server import smtp_server
from tests.fakes.twilio_server import TwilioServer
from tests.journeys.installation import Installation, installation
from tests.journeys.processes import Program
from tests.journeys.test_crashes import kill_all, kill_parent
from tests.ops.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LEADS = 80
"""Two seconds of calls and more: ten at a time, four a second."""

WRITTEN = "lead written to airtable"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Installation]:
    """An installation whose demo keeps its leads in the stand-in."""
    with (
        MetaServer() as meta,
        TwilioServer() as twilio,
        smtp_server() as mail,
        installation(
            "monolith", tmp_path_factory.mktemp("airtable"), postgresql=postgresql_url(request.config), meta=meta,
            twilio=twilio, mail=mail,
        ) as running,
    ):  # fmt: skip
        yield running


@pytest.mark.parametrize("kill", [kill_all, kill_parent])
def test_a_worker_that_is_killed_in_mid_batch_leaves_every_lead_in_the_table_once(
    made: Installation, kill: Callable[[Program, int], None]
) -> None:
    worker = made.of("leads").worker
    due = "SELECT count(*) FROM leads_airtable_link WHERE due_at IS NOT NULL"
    wait_for(lambda: made.number("leads", due) == 0, "the leads of before are in the table")
    before = worker.log.read_text().count(WRITTEN)
    ids = [made.api("leads", "/leads", {"name": f"Persona {kill.__name__} {n}"})["id"] for n in range(LEADS)]
    wait_for(lambda: worker.log.read_text().count(WRITTEN) > before, "some are written")
    kill(worker, 0)
    assert made.number("leads", due) > 0, "it was in the middle"
    worker.start()
    made.end_airtable_turn()
    wait_for(lambda: made.number("leads", due) == 0, "all are written")
    table = made.in_airtable()
    assert {lead_id: table[lead_id] for lead_id in ids} == dict.fromkeys(ids, 1)
    assert max(table.values()) == 1
