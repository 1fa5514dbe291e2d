"""What commands decide: who is the same person, what may change, what is told to others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from app.kit.auth import SYSTEM
from app.kit.db import transaction
from app.kit.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed
from app.leads import commands
from app.leads.queries import funnel
from tests.leads.people import ANN, keep, living, published, seller, timeline

pytestmark = pytest.mark.usefixtures("app")


def problems_of(values: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as refused, transaction():
        commands.create_lead(values, by=SYSTEM)
    return {item.where: item.code for item in refused.value.problems}


def test_a_new_lead_is_normalised_and_announced() -> None:
    lead = keep(name="  Ana   López ", email="Ana@EXAMPLE.com", phone="600 000 012", amount="12.5")
    assert (lead.name, lead.email, lead.phone) == ("Ana López", "Ana@example.com", "+34600000012")
    assert (lead.stage_key, lead.version, lead.amount) == ("new", 1, Decimal("12.50"))
    assert timeline(lead.id) == ["created"]
    [event] = published("lead.created")
    assert event["lead_id"] == lead.id
    assert event["email"] == "Ana@example.com"


@pytest.mark.parametrize(
    "again",
    [{"phone": "0034 600-000-012"}, {"email": "ANN@Example.COM"}, {"phone": "+34600000012", "name": "Anna"}],
)
def test_the_same_person_is_found_not_doubled(again: dict[str, str]) -> None:
    lead = keep()
    with transaction():
        found, created = commands.create_lead(again, by=SYSTEM)
    assert not created
    assert found.id == lead.id
    assert [row.id for row in living()] == [lead.id]
    assert found.name == "Ann Smith"
    assert len(published("lead.created")) == 1


def test_a_mexican_whatsapp_id_finds_the_lead_with_the_modern_number() -> None:
    lead = keep(name="Vale", phone="+525512345678")
    assert keep(name="Vale", phone="+5215512345678").id == lead.id


def test_a_second_capture_fills_what_was_empty_and_keeps_the_rest_in_the_timeline() -> None:
    lead = keep(name="Ann", phone="+34600000012", custom={"colour": "red"}, tags=["VIP"])
    with transaction():
        found, _ = commands.create_lead(
            {
                "name": "Annie",
                "phone": "+34600000012",
                "email": "ann@example.com",
                "company": "Ann & Co",
                "custom": {"colour": "blue", "size": 3},
                "tags": ["vip", "fair"],
            },
            by=SYSTEM,
        )
    assert (found.name, found.email, found.company) == ("Ann", "ann@example.com", "Ann & Co")
    assert found.custom == {"colour": "red", "size": 3}
    assert found.tag_names == "fair, VIP"
    assert found.version == 2
    line = next(item for item in funnel.timeline(lead.id, SYSTEM) if item.what == "found_again")
    assert line.data["told"] == {"name": "Annie", "custom.colour": "blue"}


def test_a_capture_that_says_nothing_new_changes_no_version() -> None:
    keep()
    assert keep().version == 1


def test_the_phone_of_one_and_the_address_of_another_go_to_the_phone_and_are_marked() -> None:
    one, other = keep(name="A", phone="+34600000012"), keep(name="B", email="b@example.com")
    with transaction():
        found, created = commands.create_lead({"phone": "+34600000012", "email": "b@example.com"}, by=SYSTEM)
    assert not created
    assert found.id == one.id
    assert found.email is None
    line = next(item for item in funnel.timeline(one.id, SYSTEM) if item.what == "possible_duplicate")
    assert line.data == {"fields": ["email"], "other_id": other.id}


def test_every_problem_is_told_at_once() -> None:
    assert problems_of(
        {
            "name": 5,
            "company": "x" * 201,
            "email": "nobody",
            "phone": "12",
            "stage": "nowhere",
            "source": "mars",
            "language": "klingon!",
            "owner_id": "one",
            "amount": -1,
            "currency": "XXQ",
            "next_contact_on": "tomorrow",
            "notes": ["x"],
            "custom": {"a": [1], "b": float("nan"), "c": 2**60, "": 1, "x/y~z": []},
            "tags": ["", 5],
            "colour": "red",
        }
    ) == {
        "/name": "wrong_type",
        "/company": "too_long",
        "/email": "invalid_email",
        "/phone": "invalid_phone",
        "/stage": "unknown_stage",
        "/source": "unknown_source",
        "/language": "invalid_language",
        "/owner_id": "invalid_owner",
        "/amount": "invalid_amount",
        "/currency": "unknown_currency",
        "/next_contact_on": "invalid_date",
        "/notes": "wrong_type",
        "/custom/a": "wrong_type",
        "/custom/b": "wrong_type",
        "/custom/c": "wrong_type",
        "/custom/": "too_long",
        "/custom/x~1y~0z": "wrong_type",
        "/tags/0": "invalid_tag",
        "/tags/1": "invalid_tag",
        "/colour": "unknown_field",
    }
    assert living() == []


def test_a_lead_must_be_somebody() -> None:
    assert problems_of({"company": "Ghosts Ltd"}) == {"": "nobody"}


def test_an_owner_must_exist_and_is_named_by_the_platform(make_user: Any) -> None:
    assert problems_of({"name": "A", "owner_id": 999}) == {"/owner_id": "unknown_owner"}
    user = make_user("seller")
    assert keep(name="A", owner_id=user.id, owner_name="Somebody else").owner_name == "seller"


def test_characters_that_no_database_takes_are_dropped() -> None:
    lead = keep(name="A\x00nn\ud800", notes="a\x00\nb", custom={"k\x00": "v\x00"}, tags=["t\x00"])
    assert (lead.name, lead.notes, lead.custom, lead.tag_names) == ("Ann", "a\nb", {"k": "v"}, "t")


def test_a_change_counts_the_version_and_tells_what_changed() -> None:
    lead = keep()
    with transaction():
        commands.change_lead(lead.id, {"company": "Smith Ltd", "amount": 10}, by=SYSTEM, version=1)
    assert lead.version == 2
    [event] = published("lead.updated")
    assert event["changes"] == {"company": "Smith Ltd", "amount": "10.00"}


def test_a_change_that_changes_nothing_is_silent() -> None:
    lead = keep()
    with transaction():
        commands.change_lead(lead.id, {"name": "Ann Smith", "tags": []}, by=SYSTEM)
    assert lead.version == 1
    assert timeline(lead.id) == ["created"]


def test_a_change_of_an_old_version_is_refused() -> None:
    lead = keep()
    with transaction():
        commands.change_lead(lead.id, {"company": "X"}, by=SYSTEM, version=1)
    with pytest.raises(PreconditionFailed), transaction():
        commands.change_lead(lead.id, {"company": "Y"}, by=SYSTEM, version=1)
    assert living()[0].company == "X"


def test_a_change_to_somebody_elses_address_is_a_conflict() -> None:
    keep(name="A", email="a@example.com", phone="+34600000013")
    lead = keep()
    with pytest.raises(Conflict) as refused, transaction():
        commands.change_lead(lead.id, {"email": "A@example.com", "phone": "600000013"}, by=SYSTEM)
    assert {item.where for item in refused.value.problems} == {"/email", "/phone"}


def test_a_lead_cannot_lose_all_that_says_who_it_is() -> None:
    lead = keep(name="Ann")
    with pytest.raises(Invalid), transaction():
        commands.change_lead(lead.id, {"name": ""}, by=SYSTEM)


def test_custom_fields_are_merged_key_by_key_and_none_takes_one_away() -> None:
    lead = keep(name="Ann", custom={"a": 1, "b": 2})
    with transaction():
        commands.change_lead(lead.id, {"custom": {"a": None, "c": 3}}, by=SYSTEM)
    assert lead.custom == {"b": 2, "c": 3}


def test_moving_and_assigning_have_events_of_their_own(make_user: Any) -> None:
    user = make_user("seller")
    lead = keep()
    with transaction():
        commands.move_lead(lead.id, "won", by=SYSTEM)
        commands.assign_lead(lead.id, user.id, "", by=SYSTEM)
    assert timeline(lead.id) == ["created", "stage_changed", "assigned"]
    assert published("lead.stage_changed")[0]["new_stage"] == "won"
    assert published("lead.assigned")[0] == {
        "lead_id": lead.id, "owner_id": user.id, "owner_name": "seller", "contact_id": None
    }  # fmt: skip
    assert published("lead.updated") == []
    assert lead.stage.key == "won"
    assert lead.version == 3


def test_a_former_owner_does_not_stop_other_changes(make_user: Any, app: Flask) -> None:
    user = make_user("seller")
    lead = keep(name="A", owner_id=user.id)
    with transaction():
        app.appbuilder.sm.find_user("seller").active = False  # type: ignore[attr-defined]
    with transaction():
        commands.change_lead(lead.id, {"owner_id": user.id, "company": "X"}, by=SYSTEM)
    assert (lead.company, lead.owner_name) == ("X", "seller")


def test_a_deleted_lead_frees_its_phone_and_comes_back_only_when_it_is_free() -> None:
    lead = keep()
    with transaction():
        commands.delete_lead(lead.id, by=SYSTEM)
    assert living() == []
    assert published("lead.deleted") == [{"lead_id": lead.id}]
    again = keep()
    assert again.id != lead.id
    with pytest.raises(Conflict), transaction():
        commands.restore_lead(lead.id, by=SYSTEM)
    with transaction():
        commands.delete_lead(again.id, by=SYSTEM)
    with transaction():
        commands.restore_lead(lead.id, by=SYSTEM)
    assert [row.id for row in living()] == [lead.id]
    assert timeline(lead.id) == ["created", "deleted", "restored"]


def test_a_deleted_lead_is_not_there_for_any_command() -> None:
    lead = keep()
    with transaction():
        commands.delete_lead(lead.id, by=SYSTEM)
    for command in (
        lambda: commands.change_lead(lead.id, {"name": "X"}, by=SYSTEM),
        lambda: commands.delete_lead(lead.id, by=SYSTEM),
        lambda: commands.add_note(lead.id, "x", by=SYSTEM),
    ):
        with pytest.raises(NotFound), transaction():
            command()


def test_notes_and_tags() -> None:
    lead = keep()
    with transaction():
        commands.add_note(lead.id, " Called twice. ", by=SYSTEM)
        commands.tag_lead(lead.id, add=("VIP", "vip", "Fair"), by=SYSTEM)
    with transaction():
        commands.tag_lead(lead.id, remove=("FAIR",), by=SYSTEM)
    assert lead.tag_names == "VIP"
    assert [tag.name for tag in funnel.tags()] == ["Fair", "VIP"]
    with pytest.raises(Invalid), transaction():
        commands.add_note(lead.id, "  ", by=SYSTEM)


def test_a_seller_owns_what_they_make_and_touches_nothing_else(make_user: Any) -> None:
    mine, theirs = seller(make_user("seller")), seller(make_user("seller", "rival"))
    lead = keep(by=mine)
    assert (lead.owner_id, lead.owner_name) == (mine.user_id, "seller")
    for command in (
        lambda: commands.change_lead(lead.id, {"name": "X"}, by=theirs),
        lambda: commands.move_lead(lead.id, "won", by=theirs),
        lambda: commands.delete_lead(lead.id, by=theirs),
        lambda: commands.add_note(lead.id, "x", by=theirs),
    ):
        with pytest.raises(NotFound), transaction():
            command()
    with pytest.raises(Forbidden), transaction():
        commands.assign_lead(lead.id, theirs.user_id, "rival", by=mine)
    with pytest.raises(Conflict), transaction():
        commands.create_lead({"name": "Mine now", "email": ANN["email"]}, by=theirs)
    assert living()[0].owner_id == mine.user_id


def test_a_seller_who_finds_a_lead_without_owner_gets_it(make_user: Any) -> None:
    lead = keep()
    mine = seller(make_user("seller"))
    with transaction():
        found, created = commands.create_lead({"email": ANN["email"]}, by=mine)
    assert (found.id, created, found.owner_id) == (lead.id, False, mine.user_id)


def test_stages_are_the_teams_own_but_none_goes_while_a_lead_is_in_it() -> None:
    with transaction():
        commands.add_stage({"key": "demo_call", "name_en": "Demo", "name_es": "Demo", "position": 2})
    lead = keep(name="A", stage="demo_call")
    with pytest.raises(Conflict), transaction():
        commands.remove_stage("demo_call")
    with transaction():
        commands.move_lead(lead.id, "new", by=SYSTEM)
        commands.remove_stage("demo_call")
    with pytest.raises(Conflict), transaction():
        commands.remove_stage("new")
    with pytest.raises(Invalid) as refused, transaction():
        commands.add_stage({"key": "Bad Key", "name_en": "", "kind": "x", "colour": "red", "position": 10**9})
    assert {item.where for item in refused.value.problems} == {
        "/key", "/name_en", "/name_es", "/kind", "/colour", "/position"
    }  # fmt: skip
