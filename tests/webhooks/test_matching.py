"""Which events an endpoint wants."""

from __future__ import annotations

import pytest

from app.contracts.events import EVENTS, LISTENERS
from app.webhooks import matching


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        (["*"], "lead.created", True),
        (["lead.*"], "lead.created", True),
        (["lead.*"], "leader.created", False),
        (["lead.*"], "email.sent", False),
        (["lead.created"], "lead.created", True),
        (["lead.created"], "lead.updated", False),
        (["email.sent", "lead.deleted"], "lead.deleted", True),
        ([], "lead.created", False),
    ],
)
def test_a_pattern_is_a_name_a_group_or_everything(patterns: list[str], name: str, expected: bool) -> None:
    assert matching.matches(patterns, name) is expected


def test_all_wrong_names_are_told_at_once_with_their_places() -> None:
    kept, problems = matching.read(["lead.*", "lead.*", "nobody.*", 7, "lead.exploded"])
    assert kept == ["lead.*"]
    assert [item.where for item in problems] == ["/events/2", "/events/3", "/events/4"]


@pytest.mark.parametrize("given", [None, "lead.*", {}, [], ["*"] * 101])
def test_something_must_be_chosen_and_be_a_list(given: object) -> None:
    kept, problems = matching.read(given)
    assert kept == []
    assert len(problems) == 1


def test_webhooks_hears_every_public_event_without_a_line_for_each() -> None:
    for event in EVENTS.values():
        assert ("webhooks" in LISTENERS.get(event, ())) is event.public
    assert "lead.deleted" in matching.known()
    assert "email.requested" not in matching.known()
    assert "lead.*" in matching.groups()
