"""Everything wrong with a flow is found at once, and nothing that comes in crashes the search."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.whatsapp.engine import advance, blocking, compile_flow, start, upgrade, validate
from app.whatsapp.engine.effects import Reply
from tests.whatsapp.engine.flows import AROUND, ask, choices, flow, say

DEMO = json.loads(
    (Path(__file__).parents[3] / "app/whatsapp/demo/welcome_es.json").read_text(encoding="utf-8")
)


def codes(document: Any, **more: Any) -> set[tuple[str, str]]:
    return {(found.where, found.code) for found in validate(document, **more)}


def branch(**case: Any) -> dict[str, Any]:
    full = {"id": "k", "value": "x", "operator": "equals", "operand": "y", **case}
    return flow({"id": "b", "type": "branch", "cases": [full], "exits": {"otherwise": None}})


BAD: list[tuple[Any, str, str]] = [
    (None, "", "wrong_type"),
    ([], "", "wrong_type"),
    ({}, "/schema", "unknown_schema"),
    (flow(say("s", "x")) | {"schema": 2}, "/schema", "unknown_schema"),
    (flow(say("s", "x")) | {"schema": True}, "/schema", "unknown_schema"),
    ({"schema": 1}, "/nodes", "no_nodes"),
    ({"schema": 1, "nodes": [say("s", "x")]}, "/start", "missing_start"),
    (flow(say("s", "x")) | {"start": "t"}, "/start", "unknown_start"),
    (flow(say("s", "x")) | {"language": "fr"}, "/language", "unknown_language"),
    (flow(say("s", "x")) | {"triggers": []}, "/triggers", "wrong_type"),
    (flow(say("s", "x")) | {"triggers": {"match": "fuzzy"}}, "/triggers/match", "unknown_match"),
    (flow(say("s", "x")) | {"triggers": {"keywords": ["!"]}}, "/triggers/keywords/0", "empty_keyword"),
    (flow(say("s", "x")) | {"settings": {"expire_minutes": 0}}, "/settings/expire_minutes", "out_of_range"),
    (flow(say("s", "x")) | {"variables": [{"name": "a b"}]}, "/variables/0", "bad_variable_name"),
    (flow(say("s", "x")) | {"variables": [{"name": "a"}] * 2}, "/variables/1", "duplicate_variable"),
    (flow(say("s", "x")) | {"variables": [{"name": "a", "default": []}]}, "/variables/0", "wrong_type"),
    (flow(say("s", "x"), say("s", "y")), "s", "duplicate_id"),
    (flow(say("s", "x"), {"type": "end"}), "/nodes/1", "no_id"),
    ({"schema": 1, "start": "s", "nodes": [say("s", "x"), 7]}, "/nodes/1", "wrong_type"),
    (flow(*(say(f"s{i}", "x") for i in range(1001))), "/nodes", "too_many_nodes"),
    (flow({"id": "s", "type": "dance"}), "s", "unknown_type"),
    (flow({"id": "s", "type": ["end"]}), "s", "unknown_type"),
    (flow({"id": "s", "type": "end", "position": {"x": "1", "y": 2}}), "s", "bad_position"),
    (flow({"id": "s", "type": "end", "exits": []}), "s", "wrong_type"),
    (flow(say("s", "x", "nowhere")), "s", "dangling_exit"),
    (flow({"id": "s", "type": "go_to"}), "s", "dangling_exit"),
    (flow({"id": "s", "type": "go_to", "target": 5}), "s", "wrong_type"),
    (flow(say("s", " ")), "s", "empty_text"),
    (flow({"id": "s", "type": "send_text"}), "s", "empty_text"),
    (flow({"id": "s", "type": "send_text", "text": {}}), "s", "wrong_type"),
    (flow(say("s", "x" * 4097)), "s", "text_too_long"),
    (flow(say("s", "a\x00")), "s", "bad_characters"),
    (flow(say("s", "\ud800")), "s", "bad_characters"),
    (flow(say("s", "{{ contact.name")), "s", "liquid_syntax"),
    (flow(say("s", "{{ vars.x }}")), "s", "unknown_variable"),
    (flow(say("s", "{{ contact.nmae }}")), "s", "unknown_variable"),
    (flow(say("s", "{{ x }}")), "s", "unknown_variable"),
    (flow(say("s", "x", "t"), say("t", "x", "s")), "s", "endless_loop"),
    (flow(say("s", "x", "t"), {"id": "t", "type": "go_to", "target": "s"}), "s", "endless_loop"),
    (flow(ask(kind="poem")), "q", "unknown_kind"),
    (flow(ask(variable="1x")), "q", "bad_variable_name"),
    (flow(ask(retries=-1)), "q", "out_of_range"),
    (flow(ask(retries=True)), "q", "out_of_range"),
    (flow(ask(timeout_minutes=1.5)), "q", "out_of_range"),
    (flow(ask(kind="number", min="1")), "q", "wrong_type"),
    (flow(ask(kind="number", min=2, max=1)), "q", "empty_range"),
    (flow(ask(kind="date", min="31/12/2026")), "q", "wrong_type"),
    (flow(ask(kind="phone", country="Spain")), "q", "unknown_country"),
    (flow(ask(kind="choice", choices=choices("Uno"))), "q", "choices_count"),
    (flow(ask(kind="choice", choices=choices(*"abcdefghijk"))), "q", "choices_count"),
    (flow(ask(kind="choice", choices=choices("Sí", "SI"))), "q", "duplicate_choice"),
    (flow(ask(kind="choice", choices=choices("Sí", "No") * 2)), "q", "duplicate_choice"),
    (flow(ask(kind="choice", choices=choices("Sí", " "))), "q", "empty_label"),
    (flow(ask(kind="choice", choices=choices("Sí", "x" * 25))), "q", "label_too_long"),
    (flow(ask(kind="choice", choices=choices("Sí", "x" * 21))), "q", "warning_long_button"),
    (flow(ask(kind="choice", choices=choices("Sí", "No"), exits={"choice:9": "q"})), "q",
     "warning_unknown_exit"),
    (branch(operator="like"), "b", "unknown_operator"),
    (branch(operator="matches", operand="("), "b", "bad_pattern"),
    (branch(operator="matches", operand="(?=a)"), "b", "bad_pattern"),
    (branch(operator="equals", operand=None), "b", "empty_text"),
    (branch(value="{{ vars.z }}"), "b", "unknown_variable"),
    (branch(), "b", "warning_no_otherwise"),
    (flow({"id": "b", "type": "branch", "cases": [], "exits": {}}), "b", "cases_count"),
    (flow({"id": "b", "type": "branch", "cases": [{"id": str(i)} for i in range(101)]}), "b", "cases_count"),
    (flow({"id": "l", "type": "capture_lead", "fields": []}), "l", "wrong_type"),
    (flow({"id": "l", "type": "capture_lead", "fields": {}}), "l", "warning_anonymous_lead"),
    (flow({"id": "m", "type": "request_email", "to": "x"}), "m", "empty_text"),
    (flow(say("s", "x"), say("t", "y")), "t", "warning_unreachable"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "where", "code"), BAD)
def test_it_is_found_where_it_is(document: Any, where: str, code: str) -> None:
    assert (where, code) in codes(document)


def test_all_problems_are_told_at_once_as_sentences() -> None:
    document = flow(say("s", ""), ask(kind="x"), say("t", "{{ vars.y }}", "u"), start="z")
    assert {code for _, code in codes(document)} == {
        "empty_text", "unknown_kind", "unknown_variable", "dangling_exit", "unknown_start",
    }  # fmt: skip
    assert all("%(" not in found.message for found in validate(document))


def test_every_problem_known_here_makes_a_sentence() -> None:
    for document, _, _ in BAD:
        for found in validate(document):
            assert found.message
            assert "%(" not in found.message


def test_warnings_do_not_block() -> None:
    document = flow(say("s", "x"), say("t", "y"))
    assert validate(document) != []
    assert blocking(validate(document)) == []


def test_a_circle_through_a_branch_is_only_a_warning() -> None:
    case = {"id": "k", "value": "x", "operator": "is_set"}
    document = flow(
        {"id": "b", "type": "branch", "cases": [case], "exits": {"case:k": None, "otherwise": "s"}},
        say("s", "x", "b"),
    )
    assert codes(document) == {("b", "warning_loop")}


def test_a_circle_through_a_question_is_fine() -> None:
    assert validate(flow(ask(next_="j"), {"id": "j", "type": "go_to", "target": "q"})) == []


def test_a_choice_also_sets_its_label() -> None:
    document = flow(ask(kind="choice", choices=choices("a", "b"), next_="s"), say("s", "{{ vars.a_label }}"))
    assert validate(document) == []


def test_an_unknown_email_template_is_a_problem_when_the_templates_are_known() -> None:
    document = flow({"id": "m", "type": "request_email", "template": "t", "to": "x", "exits": {}})
    assert codes(document) == set()
    assert codes(document, known_templates=set()) == {("m", "unknown_template")}
    assert codes(document, known_templates={"t"}) == set()


def test_an_upgraded_document_of_today_is_the_same() -> None:
    assert upgrade(DEMO) is DEMO
    assert upgrade([1]) == [1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


PLACES = places(DEMO)


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_no_json_makes_it_raise(document: Any) -> None:
    validate(document)
    validate({"schema": 1, "nodes": document, "start": document, "variables": document, "triggers": document})


@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=4))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_flow_damaged_anywhere_is_refused_or_runs(damage: list[tuple[tuple[Any, ...], Any]]) -> None:
    document = copy.deepcopy(DEMO)
    for path, value in damage:
        place = document
        try:
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
        except (KeyError, IndexError, TypeError):  # an earlier damage took the place away
            continue
    if blocking(validate(document)):
        return
    compiled = compile_flow(document)
    state = start(compiled, variables={}, **AROUND).state
    for text in ("Ana", "1", "ana@ejemplo.es", "x", "3", "y"):
        state = advance(compiled, state, Reply(text=text), **AROUND).state
