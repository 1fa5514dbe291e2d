"""Templates become mails: what survives the tools, what is told to the author, what is cut off."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.contracts.problems import Problem
from app.email import render
from app.email.render import Source, Variable, bind, check, compile_source, is_warning, preview
from app.email.render.values import read_variables

DEMO = Path(render.__file__).parents[1] / "demo"

NAME = Variable(name="name", sample="Ana")
COMPANY = Variable(name="company")
LINK = Variable(name="link", type="url", sample="https://example.com/offer")
ROWS = Variable(name="rows")

MJML = """<mjml>
  <mj-head>
    <mj-title>{{ company }}</mj-title>
    <mj-style>.big { color: #aa0000 } @media (max-width: 480px) { .big { color: #00aa00 } }</mj-style>
  </mj-head>
  <mj-body>
    {% if company %}<mj-section><mj-column>
      {% if name %}<mj-text css-class="big">Hola {{ name | default: "amigo" | upcase }} &amp; co</mj-text>{% endif %}
      <mj-table><tr><th>Thing</th><th>Price</th></tr>
        {% for n in (1..2) %}<tr><td>No {{ n }}</td><td>{{ n }} €</td></tr>{% endfor %}</mj-table>
      <mj-button href="{{ link | append: '?a=1&b=2' }}">See {{ name }}</mj-button>
      <mj-image src="{{ link }}" alt='the "{{ name }}" picture' />
    </mj-column></mj-section>{% endif %}
  </mj-body>
</mjml>"""


def template(**changes: object) -> Source:
    return Source(
        **{"subject": "Hello {{ name }}", "body": "<p>Hello {{ name }}</p>", "variables": (NAME,)} | changes
    )


def codes(problems: list[Problem]) -> set[tuple[str, str]]:
    return {(found.where, found.code) for found in problems}


def test_every_piece_of_liquid_survives_mjml_and_css_inlining_in_its_place() -> None:
    source = template(body=MJML, format="mjml", variables=(NAME, COMPANY, LINK))

    assert check(source) == []
    html = compile_source(source).render({"name": "Ana", "company": "Olivar", "link": "https://x.es/"}).html

    assert re.search(r'<td class="big"[^>]*color: #aa0000[^>]*>.*Hola ANA &amp; co', html, re.DOTALL)
    assert "@media (max-width: 480px)" in html
    assert re.search(
        r"<tbody><tr><th>Thing.*?</tr>\s*<tr>.*?No 1.*?</tr>\s*<tr>.*?No 2.*?</tr>", html, re.DOTALL
    )
    assert 'href="https://x.es/?a=1&b=2"' in html
    assert 'alt="the &quot;Ana&quot; picture"' in html
    assert "{{" not in html
    assert "{%" not in html
    assert "lqd" not in html


def test_a_condition_around_a_section_takes_the_whole_section_away() -> None:
    compiled = compile_source(template(body=MJML, format="mjml", variables=(NAME, COMPANY, LINK)))

    assert "See Ana" not in compiled.render({"name": "Ana", "company": None, "link": "https://x.es/"}).html


def test_the_text_part_is_made_from_the_html_with_its_links_and_loops() -> None:
    compiled = compile_source(template(body=MJML, format="mjml", variables=(NAME, COMPANY, LINK)))

    text = compiled.render({"name": "Ana", "company": "Olivar", "link": "https://x.es/"}).text

    assert "Hola ANA & co" in text
    assert "No 1 1 €" in text
    assert "No 2 2 €" in text
    assert "See Ana (https://x.es/?a=1&b=2)" in text
    assert "<" not in text
    assert "\n\n\n" not in text


def test_a_text_part_of_ones_own_is_taken_as_it_is() -> None:
    rendered = compile_source(template(text="Just for {{ name }}.")).render({"name": "Ana"})

    assert rendered.text == "Just for Ana.\n"


def test_values_are_escaped_in_html_and_nowhere_else() -> None:
    rendered = compile_source(template()).render({"name": "<b>A & B</b>"})

    assert "<p>Hello &lt;b&gt;A &amp; B&lt;/b&gt;</p>" in rendered.html
    assert rendered.text == "Hello <b>A & B</b>\n"
    assert rendered.subject == "Hello <b>A & B</b>"


def test_a_subject_is_one_line_whatever_the_values_hold() -> None:
    rendered = compile_source(template()).render({"name": "Ana\r\nBcc: evil@example.com\u2028\x00"})

    assert rendered.subject == "Hello Ana Bcc: evil@example.com"


def test_braces_written_as_entities_stay_text() -> None:
    source = template(body="<p>Write &#123;&#123; name }} to {{ name }}</p>")

    rendered = compile_source(source).render({"name": "Ana"})

    assert "Ana}} to" not in rendered.html
    assert rendered.text == "Write { { name }} to Ana\n"


def test_raw_and_comment_blocks_keep_their_meaning() -> None:
    source = template(
        body="<p>{% raw %}{{ name }}{% endraw %}{% comment %}<b>no</b>{% endcomment %} {{ name }}</p>"
    )

    assert "<p>{{ name }} Ana</p>" in compile_source(source).render({"name": "Ana"}).html


def test_all_faults_of_a_template_are_told_at_once_with_their_lines() -> None:
    problems = check(
        Source(
            subject="{{ name",
            body="<p>{{ nope }}</p>\n{% if name %}\n<p {% if x %}>",
            format="docx",
            variables=(NAME, Variable(name="Bad Name"), Variable(name="n", type="number", default="many")),
        )
    )

    assert {
        ("/format", "unknown_format"),
        ("/subject", "liquid"),
        ("/body", "liquid"),
        ("/body", "liquid_in_tag"),
        ("/variables/1/name", "invalid_name"),
        ("/variables/2/default", "wrong_type"),
    } <= codes(problems)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            "<p>{% for a in (1..9000) %}{% for b in (1..9000) %}x{% endfor %}{% endfor %}</p>",
            "It cannot be filled in: its loops repeat too often.",
        ),
        (
            "<p>{% assign a = 'xxxxxxxxxx' %}{% for i in (1..30) %}{% assign a = a | append: a %}{% endfor %}</p>",
            "It cannot be filled in: too much text comes of it.",
        ),
        (
            f"<p>{{% for i in (1..9000) %}}{'x' * 900}{{% endfor %}}</p>",
            "It cannot be filled in: too much text comes of it.",
        ),
    ],
)
def test_a_limit_of_ours_is_told_in_a_sentence_of_ours(body: str, sentence: str) -> None:
    assert sentence in {found.message for found in check(template(body=body))}


def test_what_a_library_says_is_quoted() -> None:
    for body in ("<p>{{ name | rjust: 3 }}</p>", "<p>{% if %}x{% endif %}</p>", "<p>{% include 'x' %}</p>"):
        told = [found.message for found in check(template(body=body)) if found.code == "liquid"]
        assert told and all(sentence.startswith("Line 1: “") and sentence[-1] == "”" for sentence in told)


def test_an_undeclared_variable_is_an_error_with_its_line_and_an_unused_one_is_advice() -> None:
    problems = check(template(body="<p>\n{{ nmae }}</p>", variables=(NAME, COMPANY)))

    assert codes(problems) == {("/body", "undeclared"), ("/variables/1", "warning_unused")}
    undeclared = next(found for found in problems if found.code == "undeclared")
    assert undeclared.message == "Line 2: “nmae” is not among the template's variables."
    assert [is_warning(found) for found in problems if found.code == "warning_unused"] == [True]


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("<mjml>\n<mj-body>\n<mj-section>\n</mj-body></mjml>", "mjml_unclosed", 3),
        ("<mjml><mj-body>\n<mj-sectoin></mj-sectoin></mj-body></mjml>", "mjml_unknown", 2),
        ("<mjml><mj-body>\n<mj-include path='/etc/passwd' /></mj-body></mjml>", "mjml_include", 2),
        ("<mjml><mj-body></mj-section></mj-body></mjml>", "mjml_unopened", 1),
        (
            "<mjml><mj-body><mj-section>\n{{ name }}</mj-section></mj-body></mjml>",
            "liquid_between_elements",
            2,
        ),
    ],
)
def test_faulty_mjml_is_told_with_the_line(body: str, code: str, line: int) -> None:
    problems = check(template(body=body, format="mjml"))

    assert ("/body", code) in codes(problems)
    assert next(found for found in problems if found.code == code).params["line"] == line


def test_what_is_no_mjml_at_all_is_told() -> None:
    assert ("/body", "mjml") in codes(check(template(body="hello {{ name }}", format="mjml")))


def test_an_empty_subject_and_body_and_too_long_texts_are_told() -> None:
    assert codes(check(Source(subject=" ", body="  "))) == {("/subject", "missing"), ("/body", "missing")}
    assert codes(check(Source(subject="x" * 501, body="é" * 60_000, text="é" * 60_000))) == {
        ("/subject", "too_long"),
        ("/body", "too_long"),
        ("/text", "too_long"),
    }


def test_a_template_that_never_ends_is_refused() -> None:
    body = "<p>{% for i in (1..9999999) %}{{ i }}{% endfor %}</p>"

    assert ("/body", "render") in codes(check(template(subject="x", body=body, variables=())))


def test_what_a_variable_does_not_have_is_refused() -> None:
    assert ("/body", "render") in codes(check(template(body="<p>{{ name.first }}</p>", subject="x")))


def test_a_text_variable_may_not_decide_where_a_link_leads() -> None:
    body = "<p><a href='{{ name }}'>x</a> <a href='https://example.com/{{ name }}'>y</a></p>"

    assert codes(check(template(body=body))) == {("/body", "link_not_url")}
    assert check(template(body=body, variables=(Variable(name="name", type="url"),))) == []


def test_a_mail_asks_no_font_server_when_it_is_opened() -> None:
    html = compile_source(template(body=MJML, format="mjml", variables=(NAME, COMPANY, LINK))).html.source

    assert "fonts.googleapis" not in html


@pytest.mark.parametrize("language", ["es", "en"])
def test_the_demo_templates_are_faultless(language: str) -> None:
    source = Source(
        subject="Hola{% if name %}, {{ name }}{% endif %}",
        body=(DEMO / f"welcome.{language}.mjml").read_text("utf-8"),
        format="mjml",
        variables=(NAME, COMPANY),
        language=language,
    )

    assert check(source) == []
    values, _ = bind(source.variables, {"name": "Zoë", "company": ""})
    rendered = compile_source(source).render(values)
    assert f'lang="{language}"' in rendered.html
    assert ", Zoë\n" in rendered.text
    assert "<strong></strong>" not in rendered.html


def test_a_preview_shows_samples_and_what_is_wrong_together() -> None:
    shown = preview(template(body="<p>{{ name }} {{ nope }}</p>", variables=(NAME, COMPANY)), {"name": 7})

    assert shown.rendered is not None
    assert "<p>7 </p>" in shown.rendered.html
    assert ("/body", "undeclared") in codes(shown.problems)


def test_values_are_taken_in_the_type_that_is_declared() -> None:
    declared = (
        Variable(name="text", required=True),
        Variable(name="count", type="number"),
        Variable(name="price", type="number", default=9.5),
        Variable(name="day", type="date"),
        Variable(name="link", type="url"),
        Variable(name="vip", type="boolean"),
        Variable(name="note"),
    )

    values, problems = bind(
        declared,
        {"text": "x", "count": "3", "day": "2030-01-31", "link": "https://example.com/a?b=1", "vip": "true"},
    )

    assert problems == []
    assert values == {
        "text": "x",
        "count": 3,
        "price": 9.5,
        "day": "2030-01-31",
        "link": "https://example.com/a?b=1",
        "vip": True,
        "note": None,
    }


def test_all_wrong_values_are_told_at_once() -> None:
    declared = (
        Variable(name="needed", required=True),
        Variable(name="count", type="number"),
        Variable(name="day", type="date"),
        Variable(name="vip", type="boolean"),
        Variable(name="text"),
    )

    _, problems = bind(
        declared,
        {"count": "many", "day": "tomorrow", "vip": "perhaps", "text": ["a"], "odd/name": 1, "needed": " "},
    )

    assert codes(problems) == {
        ("/variables/needed", "missing"),
        ("/variables/count", "wrong_type"),
        ("/variables/day", "wrong_type"),
        ("/variables/vip", "wrong_type"),
        ("/variables/text", "wrong_type"),
        ("/variables/odd~1name", "unknown_variable"),
    }


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " java\nscript:alert(1)",
        "data:text/html,x",
        "https://",
        "//evil.example",
        "https://a b",
        'https://x/"onclick=',
        "nonsense",
        7,
    ],
)
def test_a_link_that_is_none_is_refused(url: object) -> None:
    _, problems = bind((LINK,), {"link": url})

    assert codes(problems) == {("/variables/link", "invalid_url")}


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), {}, "1e999"])
def test_a_number_that_is_none_is_refused(value: object) -> None:
    _, problems = bind((Variable(name="n", type="number"),), {"n": value})

    assert codes(problems) == {("/variables/n", "wrong_type")}


def test_variables_stored_by_a_newer_release_are_read() -> None:
    assert read_variables([{"name": "a", "type": "date", "future": 1}]) == (Variable(name="a", type="date"),)
