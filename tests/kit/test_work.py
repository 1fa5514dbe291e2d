"""Which worker child drains what."""

from __future__ import annotations

from app.kit.work import _groups

QUEUES = ["whatsapp", "leads", "airtable", "email", "webhooks"]
PATIENT = {"airtable", "email", "webhooks"}


def test_one_child_is_kept_free_of_jobs_that_wait_for_somebody_outside() -> None:
    first, *others = _groups(QUEUES, PATIENT, 3)
    assert first == ["whatsapp", "leads"]
    assert [group[0] for group in others] == ["airtable", "email"]
    assert all(set(group) == set(QUEUES) for group in others)


def test_every_queue_is_drained_whatever_the_number_of_children() -> None:
    for processes in range(1, 9):
        groups = _groups(QUEUES, PATIENT, processes)
        assert set().union(*groups) == set(QUEUES)
        assert len(groups) <= max(1, processes)


def test_a_worker_for_one_kind_of_queue_shares_it_among_its_children() -> None:
    assert _groups(["email", "webhooks"], PATIENT, 2) == [["email", "webhooks"], ["webhooks", "email"]]
    assert _groups(["whatsapp"], PATIENT, 3) == [["whatsapp"]]
