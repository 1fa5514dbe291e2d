"""Who gave no answer is left alone; then one at a time tries."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from app.kit import silence
from app.kit.silence import Silence


def elsewhere(ask: Callable[[], bool]) -> bool:
    """What another thread hears."""
    heard: list[bool] = []
    thread = threading.Thread(target=lambda: heard.append(ask()))
    thread.start()
    thread.join()
    return heard[0]


def test_who_answers_is_asked_by_everybody() -> None:
    made = Silence()
    assert made.may_ask() and elsewhere(made.may_ask)
    made.tell(answered=True)
    assert made.may_ask()


def test_after_a_silence_nobody_asks_for_a_while() -> None:
    made = Silence()
    made.tell(answered=False)
    assert not made.may_ask() and not elsewhere(made.may_ask)


def test_then_one_asks_and_the_others_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Silence()
    monkeypatch.setattr(silence, "SECONDS", 0.0)
    made.tell(answered=False)
    assert made.may_ask()
    assert made.may_ask(), "what it does may ask again inside"
    assert not elsewhere(made.may_ask)
    made.tell(answered=False)
    assert elsewhere(made.may_ask), "the next one's turn"


def test_an_answer_opens_it_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Silence()
    monkeypatch.setattr(silence, "SECONDS", 0.0)
    made.tell(answered=False)
    assert made.may_ask()
    made.tell(answered=True)
    assert elsewhere(made.may_ask) and elsewhere(made.may_ask)
