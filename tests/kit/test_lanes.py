"""Lanes: who hangs holds up himself, one thread and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from app.kit import lanes
from app.kit.lanes import Lanes, answers

LONG = 30.0


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What a hanging question waits for; it is freed at the end."""
    event = threading.Event()
    yield event
    event.set()


def running(name: str) -> int:
    return sum(thread.name == f"lane {name}" for thread in threading.enumerate())


def test_an_answer_and_an_error_come_back() -> None:
    made = Lanes()

    def fail() -> None:
        raise KeyError("no")

    asked = {"fine": made.ask("a", lambda: 7), "broken": made.ask("a", fail)}
    found = answers(asked, LONG)
    assert found["fine"].result() == 7
    assert isinstance(found["broken"].exception(), KeyError)


def test_a_lane_that_hangs_holds_up_itself_only(never: threading.Event) -> None:
    made = Lanes()
    asked = {"hung": made.ask("slow", lambda: never.wait(LONG)), "fine": made.ask("quick", lambda: 7)}
    assert answers({"fine": asked["fine"]}, LONG)["fine"].result() == 7
    assert set(answers(asked, 0.05)) == {"fine"}


def test_however_often_it_is_asked_it_holds_one_thread_and_what_came_too_late_is_never_asked(
    never: threading.Event,
) -> None:
    made, put = Lanes(), []
    answers({"first": made.ask("slowest", lambda: never.wait(LONG))}, 0.05)
    for number in range(20):
        assert answers({number: made.ask("slowest", lambda number=number: put.append(number))}, 0.01) == {}  # type: ignore[misc]
    assert running("slowest") == 1
    never.set()
    last = made.ask("slowest", lambda: "back")
    assert answers({"last": last}, LONG)["last"].result() == "back"
    assert put == []


def test_a_lane_that_hangs_for_too_long_is_given_up_for_a_new_one(
    never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Lanes()
    answers({"first": made.ask("slow", lambda: never.wait(LONG))}, 0.05)
    monkeypatch.setattr(lanes, "GIVEN_UP_SECONDS", 0.0)
    assert answers({"new": made.ask("slow", lambda: "back")}, LONG)["new"].result() == "back"
