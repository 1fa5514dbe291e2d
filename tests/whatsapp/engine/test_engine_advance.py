"""One turn: what each type of node does, and what stops a conversation."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.whatsapp.engine import (
    CaptureLead,
    Choice,
    Finished,
    HandOver,
    Reply,
    RequestEmail,
    SendMessage,
    SetTimer,
    Timeout,
    compile_flow,
    start,
)
from app.whatsapp.engine.folding import fold_words, says
from tests.whatsapp.engine.flows import AROUND, ask, begin, choices, flow, go, say

ROOT = Path(__file__).parents[3]


def test_texts_know_contact_variables_message_flow_channel_and_time() -> None:
    text = "{{ contact.name }} {{ vars.a }} {{ message.text }} {{ flow.name }} {{ channel.name }} {{ now }}"
    document = flow(say("s", text), variables=[{"name": "a", "default": "x"}])
    step = start(compile_flow(document, name="F"), variables={}, message={"text": "hola"}, **AROUND)
    assert step.effects == (
        SendMessage(text="Ana x hola F Ventas 2026-03-02T10:00:00+00:00"),
        Finished(outcome="completed"),
    )


def test_given_variables_win_over_defaults_and_are_plain() -> None:
    document = flow(ask(), variables=[{"name": "a", "default": "x"}, {"name": "b", "default": 1}])
    state = begin(document, a="y", c=[1], d=2**80, e=None, f=1.5).state
    expected = {"a": "y", "b": 1, "c": "[1]", "d": str(2**80), "e": None, "f": 1.5}
    assert state["vars"] == expected
    assert orjson.loads(orjson.dumps(state)) == state


def test_a_question_offers_its_choices_and_sets_its_timer() -> None:
    document = flow(ask(kind="choice", choices=choices("Uno", "Dos"), timeout_minutes=5))
    step = begin(document)
    assert step.effects == (
        SendMessage(text="¿?", choices=(Choice(id="c1", label="Uno"), Choice(id="c2", label="Dos"))),
        SetTimer(minutes=5, turn=1),
    )
    assert (step.state["node"], step.state["status"], step.state["turn"]) == ("q", "waiting", 1)
    assert go(document, step, "quizás").effects[1] == SetTimer(minutes=5, turn=2)


def test_after_the_retries_it_leaves_by_failed() -> None:
    document = flow(ask(kind="number", retries=1, exits={"failed": "f"}), say("f", "adiós"))
    step = go(document, begin(document), "x")
    assert step.effects == (SendMessage(text="Perdona, necesito un número. Por ejemplo: 25"),)
    assert go(document, step, "x").effects == (SendMessage(text="adiós"), Finished(outcome="completed"))


def test_without_the_exit_failed_the_conversation_has_failed() -> None:
    document = flow(ask(kind="number", retries=0))
    step = go(document, begin(document), "x")
    assert step.effects == (Finished(outcome="failed"),)
    assert step.state["status"] == "failed"


def test_a_timeout_of_another_turn_or_nothing_said_changes_nothing() -> None:
    document = flow(ask(timeout_minutes=5, exits={"timeout": "t"}), say("t", "¿sigues?"))
    step = begin(document)
    for nothing in (Timeout(turn=7), None):
        assert go(document, step, nothing).state == step.state
        assert go(document, step, nothing).effects == ()
    assert go(document, step, Timeout(turn=1)).effects[0] == SendMessage(text="¿sigues?")


def test_the_given_state_is_not_changed() -> None:
    document = flow(ask(next_="q2"), ask("q2", next_="q"))
    state = begin(document).state
    before = copy.deepcopy(state)
    go(document, begin(document), "uno")
    step = begin(document)
    go(document, step, "uno", "dos", "tres")
    assert step.state == before


CASES = [
    ("equals", "Catálogo", "catalogo", True),
    ("equals", "a", "b", False),
    ("not_equals", "a", "A", False),
    ("contains", "El Sofá rojo", "SOFA", True),
    ("contains", "x", "{{ vars.nada }}", False),
    ("not_contains", "x", "y", True),
    ("starts_with", "Ñandú", "nan", True),
    ("matches", "pedido 123", r"\d{3}$", True),
    ("matches", "Ábaco", "^á", True),
    ("greater", "1.500", "1.000,50", True),
    ("greater", "10", "9", True),
    ("less", "2026-01-02", "2026-02-01", True),
    ("less", "abc", "5", False),
    ("is_set", "x", None, True),
    ("is_set", " ", None, False),
    ("is_blank", "", None, True),
]


@pytest.mark.parametrize(("operator", "value", "operand", "applies"), CASES)
def test_a_branch_compares(operator: str, value: str, operand: str | None, applies: bool) -> None:
    case = {"id": "k", "value": "{{ vars.v }}", "operator": operator, "operand": operand}
    document = flow(
        {"id": "b", "type": "branch", "cases": [case], "exits": {"case:k": "yes", "otherwise": "no"}},
        say("yes", "sí"),
        say("no", "no"),
        variables=[{"name": "v", "default": ""}, {"name": "nada", "default": ""}],
    )
    assert begin(document, v=value).effects[0] == SendMessage(text="sí" if applies else "no")


def test_a_number_in_a_variable_is_compared_as_the_number_it_is() -> None:
    case = {"id": "k", "value": "{{ vars.a }}", "operator": "less", "operand": "2"}
    document = flow(
        ask(kind="number", next_="b"),
        {"id": "b", "type": "branch", "cases": [case], "exits": {"case:k": "yes"}},
        say("yes", "sí"),
    )
    step = go(document, begin(document), "1,125")  # as text it would be 1.125: eleven hundred in Spanish
    assert step.effects[0] == SendMessage(text="sí")


@pytest.mark.timeout(5)
def test_a_pattern_that_explodes_elsewhere_ends_here() -> None:
    case = {"id": "k", "value": "{{ vars.v }}", "operator": "matches", "operand": "^(a+)+$"}
    document = flow({"id": "b", "type": "branch", "cases": [case], "exits": {}}, variables=[{"name": "v"}])
    assert begin(document, v="a" * 1900 + "b").trace == (("b", "otherwise"),)


def test_a_lead_an_email_and_a_hand_over_carry_filled_texts() -> None:
    document = flow(
        {
            "id": "v",
            "type": "set_variable",
            "variable": "x",
            "value": " {{ contact.name | upcase }} ",
            "exits": {"next": "l"},
        },
        {
            "id": "l",
            "type": "capture_lead",
            "exits": {"next": "m"},
            "fields": {
                "name": "{{ vars.x }}",
                "phone": "{{ contact.phone }}",
                "email": "",
                "talla": "{{ vars.y }}",
            },
        },
        {"id": "m", "type": "request_email", "template": "t", "to": "{{ vars.y }}", "exits": {"next": "n"}},
        {
            "id": "n",
            "type": "request_email",
            "template": "t",
            "to": "a@b.es",
            "variables": {"n": "{{ vars.x }}"},
            "exits": {"next": "h"},
        },
        {"id": "h", "type": "hand_over", "note": "Es {{ vars.x }}", "exits": {}},
        variables=[{"name": "y", "default": ""}],
    )
    step = begin(document)
    assert step.effects == (
        CaptureLead(fields={"name": "ANA", "phone": "+34612345678"}, key="1:l"),
        RequestEmail(template="t", to="a@b.es", variables={"n": "ANA"}, key="1:n"),
        HandOver(note="Es ANA"),
    )
    assert ("m", "no_address") in step.trace
    assert step.state["status"] == "handed_over"
    assert go(document, step, "¿hola?").effects == ()


def test_a_blank_text_is_not_sent_and_a_long_one_is_cut() -> None:
    variables = [{"name": "e", "default": ""}]
    assert begin(flow(say("s", "{{ vars.e }}"), variables=variables)).trace == (("s", "sent"), ("s", "blank"))
    long = "{% for i in (1..300) %}0123456789abcdef{% endfor %}"
    assert len(begin(flow(say("s", long))).effects[0].text) == 4096  # type: ignore[union-attr]


def test_a_text_without_end_is_traced_and_the_conversation_goes_on() -> None:
    document = flow(say("s", "{% for i in (1..999999999) %}x{% endfor %}", "t"), say("t", "sigo"))
    step = begin(document)
    assert step.effects[0] == SendMessage(text="sigo")
    assert ("s", "template: too many repetitions") in step.trace


def test_a_hundred_steps_are_a_turn_and_one_more_is_too_many() -> None:
    def chain(length: int) -> dict[str, Any]:
        names = [f"n{i}" for i in range(length)]
        return flow(*(say(name, name, next_) for name, next_ in zip(names, [*names[1:], None], strict=True)))

    assert begin(chain(100)).effects[-1] == Finished(outcome="completed")
    assert begin(chain(101)).effects[-1] == Finished(outcome="limit")


def test_a_state_of_another_flow_fails_instead_of_crashing() -> None:
    step = begin(flow(ask()))
    after = go(flow(say("q", "otra cosa")), step, "hola")
    assert after.effects == (Finished(outcome="failed"),)


@pytest.mark.parametrize(
    ("message", "phrase", "said"),
    [
        ("¡HOLA, buenas!", "hola", True),
        ("quiero INFORMACION ya", "información", True),
        ("quiero más info del producto", "Más info", True),
        ("holanda", "hola", False),
        ("hola", "!", False),
        ("", "hola", False),
    ],
)
def test_a_message_says_a_phrase_only_in_whole_words(message: str, phrase: str, said: bool) -> None:
    assert says(fold_words(message), fold_words(phrase)) is said


def test_the_engine_needs_no_framework_database_or_network() -> None:
    code = (
        "import sys, types; app = types.ModuleType('app'); app.__path__ = ['app']; sys.modules['app'] = app;"
        "import app.whatsapp.engine, app.kit.text;"
        "print([m for m in ('flask', 'sqlalchemy', 'requests', 'redis', 'rq', 'dns') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_button_of_text_kind_answers_a_text_question() -> None:
    document = flow(ask())
    assert go(document, begin(document), Reply(text="Sí", payload="x", kind="button")).state["vars"] == {
        "a": "Sí"
    }
