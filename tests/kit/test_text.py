"""Texts are filled from plain data, say what is unknown, and always stop."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kit import text
from app.kit.text import LiquidProblem

DATA = {"contact": {"name": "Ana", "phone": None}, "vars": {"n": 3, "yes": True, "size": "L", "list": [1, 2]}}


@pytest.mark.parametrize(
    ("source", "filled"),
    [
        ("Sin nada }} de { nada %}", "Sin nada }} de { nada %}"),
        ("Hola {{ contact.name }}{{contact.phone}} ({{ vars.n }})", "Hola Ana (3)"),
        ("{{ vars.yes }} {{ vars.list }} {{ vars.list.size }} {{ vars.size }}", "true 12 2 L"),
        ("{{ vars['n'] }}|{{ vars | to_json }}", '3|{"n": 3, "yes": true, "size": "L", "list": [1, 2]}'),
        ("{% if vars.n > 2 %}{{ contact.name | upcase }}{% endif %}", "ANA"),
        ("{% assign contact = vars %}{{ contact.n }}", "3"),
        ("{% for i in vars.list %}{{ i }},{% endfor %}{{ contact.name -}}  !", "1,2,Ana!"),
        ("uno{% break %}dos", "uno"),
        ("{{ '2026-12-31' | date: '%d/%m/%Y' }}", "31/12/2026"),
    ],
)
def test_a_text_is_filled(source: str, filled: str) -> None:
    assert text.compile(source).render(DATA, strict=True) == filled


def test_values_are_escaped_for_html_when_asked() -> None:
    source, data = "<b>{{ name }}</b>{{ name | upcase }}", {"name": "<i>&"}
    assert text.compile(source, autoescape=True).render(data) == "<b>&lt;i&gt;&amp;</b>&lt;I&gt;&amp;"
    assert text.compile(source).render(data) == "<b><i>&</b><I>&"


def test_markup_in_values_is_not_run() -> None:
    assert text.compile("{{ contact.name }}").render({"contact": {"name": "{{ vars.n }}"}}) == "{{ vars.n }}"


def test_now_in_a_date_is_the_time_of_the_data() -> None:
    source = "{{ 'now' | date: '%Y' }} {{ now | date: '%H:%M' }}"
    assert text.compile(source).render({"now": "1999-05-06T07:08:09+00:00"}) == "1999 07:08"


def test_an_unknown_variable_is_an_error_when_strict_and_told_when_not() -> None:
    template = text.compile("Hola\n{{ vars.nmae }}!")
    with pytest.raises(LiquidProblem) as raised:
        template.render(DATA, strict=True)
    assert raised.value.line == 2
    unknown: list[str] = []
    assert template.render(DATA, unknown=unknown) == "Hola\n!"
    assert unknown == ["vars.nmae"]


def test_asking_whether_a_variable_is_there_is_no_error() -> None:
    source = "{% if vars.a %}x{% endif %}{{ vars.a | default: 'y' }}"
    assert text.compile(source).render(DATA, strict=True) == "y"


def test_a_failing_filter_loses_only_its_own_place() -> None:
    source = "a {{ vars.n | divided_by: 0 }} b"
    unknown: list[str] = []
    assert text.compile(source).render(DATA, unknown=unknown) == "a  b"
    assert len(unknown) == 1
    with pytest.raises(LiquidProblem):
        text.compile(source).render(DATA, strict=True)


def test_the_variables_of_a_text_are_those_it_does_not_set_itself() -> None:
    source = (
        "{% assign q = vars.a %}{{ q }}{{ vars['b'].c | append: vars.d }}{% for i in items %}{{ i.x }}"
        "{{ forloop.index }}{% endfor %}{{ items[0].name }}{{ vars[contact.k] }}{% if now %}{% endif %}"
    )
    assert text.variables(source) == {"vars.a", "vars.b.c", "vars.d", "items", "vars", "contact.k", "now"}
    assert text.variables("nada") == set()


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("a\n{{ b", 2),
        ("{% if a %}", None),
        ("{{ a | nofilter }}", 1),
        ("\n\n{% include 'x' %}", 3),
        ("{% render 'x' %}", 1),
        ("{% raw %}", 1),
        ("{{ " + "1" * 5000 + " }}", 1),
        ("x" * (text.MAX_SOURCE_BYTES + 1), None),
        ("ñ" * (text.MAX_SOURCE_BYTES // 2 + 1), None),
        ("{{ a" + "[a" * 20_000 + "]" * 20_000 + "}}", None),
    ],
)
def test_what_cannot_be_read_is_a_problem_with_its_line(source: str, line: int | None) -> None:
    with pytest.raises(LiquidProblem) as raised:
        text.compile(source)
    assert raised.value.line == line


BOMBS = [
    "{% for i in (1..1000000000) %}x{% endfor %}",
    "{% for i in (1..9000) %}{% endfor %}" * 200,
    "{% for i in (1..9000) %}" + "{% if 1==2 %}{% endif %}" * 4000 + "{% endfor %}",
    "{% for i in (1..100) %}" * 3 + "{% endfor %}" * 3,
    "{% tablerow i in (1..100000000) %}x{% endtablerow %}",
    "{{ (1..1000000000) | join: ',' }}",
    "{{ 'aaaaaaaaaa'" + " | replace: 'a','aaaaaaaaaa'" * 20 + " }}",
    "{% assign a='aaaaaaaaaa' %}" + "{% assign a = a | append: a %}" * 60 + "{{ a }}",
    "{{ 9 " + "| times: 99999999999999" * 3000 + " }}",
    "{% capture a %}" + "x" * 50_000 + "{% endcapture %}" + "{{ a }}" * 100,
    "{" * 100_000,
    "{{" * 50_000,
    "{{ " + " " * 90_000 + " }}",
    "{{ a " + "(" * 40_000 + " }}",
    "{% raw %}" * 10_000,
    "{% comment %}" * 7_000,
    "{% if a %}" * 9_000,
]


@pytest.mark.parametrize("source", BOMBS, ids=lambda source: source[:24])
@pytest.mark.timeout(10)
def test_a_text_without_end_is_stopped(source: str) -> None:
    with pytest.raises(LiquidProblem):
        text.compile(source).render({"a": "a"})


@given(st.text(alphabet="{}%|()[]'\"., \n-ab1:ifendfor#\ud800é", max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_text_fails_in_any_other_way(source: str) -> None:
    for strict in (False, True):
        try:
            text.compile(source).render({"a": "b"}, strict=strict)
        except LiquidProblem:
            continue
