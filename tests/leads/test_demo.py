"""A new installation has stages and something to look at, and a second run adds nothing."""

from __future__ import annotations

import pytest

from app.contracts.problems import Problem
from app.kit.db import transaction
from app.leads import commands, demo, matching
from app.leads.queries import funnel
from tests.leads.people import living, published

pytestmark = pytest.mark.usefixtures("app")


def test_the_demo_leads_are_made_once_and_are_marked_as_such() -> None:
    assert demo.load_demo() == ["40 demo leads", "a table in the local stand-in for Airtable"]
    assert demo.load_demo() == []
    leads = living()
    assert len(leads) == 40
    assert {lead.source for lead in leads} == {"demo"}
    assert {event["source"] for event in published("lead.created")} == {"demo"}
    assert {lead.stage_key for lead in leads} == {stage.key for stage in funnel.stages()}


def test_the_demo_people_cannot_exist() -> None:
    demo.load_demo()
    for lead in living():
        assert lead.email is not None
        assert lead.email.endswith("@example.com")
        assert lead.phone is not None
        assert not isinstance(matching.read_phone(lead.phone), Problem)
        assert lead.phone.startswith(("+3460000", "+1202555011", "+1202555012", "+52555555010"))


def test_seeding_again_leaves_the_teams_own_stages_alone() -> None:
    with transaction():
        commands.change_stage("proposal", {"name_es": "Presupuesto"})
        commands.remove_stage("lost")
    demo.seed()
    assert [(stage.key, stage.name_es) for stage in funnel.stages()][3:] == [
        ("proposal", "Presupuesto"),
        ("won", "Ganado"),
    ]
